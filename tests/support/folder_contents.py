"""What lies in the folder of a run."""

import csv
import io
import json
import re

from fedunlearn.experiment import RUN_LOG

SECONDS = "seconds"


def contents(folder):
    """Return each file of a run but Hydra's and run.log, without what only the clock decides.

    That is the column of seconds, when a certificate was issued, and the hashes of files that
    hold either.
    """
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.relative_to(folder).as_posix().startswith((".hydra/", ".lock", RUN_LOG))
    }
    return {name: _timeless(name, content) for name, content in found.items()}


def _timeless(name, content):
    if name in ("ledger.csv", "summary.csv"):
        return _without_seconds(content.decode())
    if name == "manifest.json":
        manifest = json.loads(content)
        for timed in ("ledger.csv", "summary.csv", "answers.csv"):
            manifest.get("files", {}).pop(timed, None)
        for depending in ("sha256", "certificates_head"):
            manifest.pop(depending, None)
        return json.dumps(manifest)
    if name.startswith("certificates/"):
        text = re.sub(r'"(issued|previous)": "[^"]*"', "", content.decode())
        text = re.sub(r'"seconds": [-+.e0-9]+', "", text)
        text = re.sub(r"Issued \S+", "", text)
        text = re.sub(r"\| (this|previous) certificate.*", "", text)
        return re.sub(r"\| seconds \|.*", "", text)
    return content


def _without_seconds(text):
    rows = list(csv.reader(io.StringIO(text)))
    place = rows[0].index(SECONDS)
    return [[cell for number, cell in enumerate(row) if number != place] for row in rows]
