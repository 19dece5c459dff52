"""What each run of a multirun overrode and came to, as one table."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results.manifest import MANIFEST_FILE, Unfinished, read_manifest
from fedunlearn.results.run_files import find_runs, load, summary_columns, table_text


def write_index(folder: Path) -> Path:
    """Write ``index.csv`` of a multirun: a row for each row of each run's summary.

    Its columns are the run's folder, what was overridden on the command line, and the summary's.
    A run that is not finished has one row, which is empty otherwise. Raises `Refused` for a
    finished one that is not as it was written.
    """
    rows: list[Mapping[str, str]] = []
    for run in find_runs(folder):
        said = " ".join(overrides_of(run))
        name = {"run": run.relative_to(folder).as_posix(), "overrides": said}
        cases = _summary_cells(run)
        rows += [{**name, **case} for case in cases or [{}]]
    text = io.StringIO()
    columns = list(dict.fromkeys(["run", "overrides", *summary_columns(rows)]))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return files.write(folder / "index.csv", text.getvalue().encode())


def overrides_of(run: Path) -> list[str]:
    """Return what was set on the command line of a run, or by a sweeper.

    The manifest says it; of a run whose manifest does not, Hydra's own file. Raises `Refused`.
    """
    if (run / MANIFEST_FILE).exists():
        listed = read_manifest(run).get("overrides")
        if listed is not None:
            return [str(override) for override in listed]
    path = run / ".hydra" / "overrides.yaml"
    if not path.exists():
        return []
    listed = files.read_yaml(path, "a list of overrides")
    if listed is not None and not isinstance(listed, list):
        raise Refused(f"{path} does not list overrides: bring back an intact copy.")
    given = [str(override) for override in listed or []]
    return [override for override in given if not override.startswith(("resume=", "overwrite="))]


def _summary_cells(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's summary as they are written; none of one that is not finished."""
    summary = run / "summary.csv"
    if (run / MANIFEST_FILE).exists():
        served = True
    else:  # a run can fail before it serves anybody
        served = summary.exists() and len(table_text(summary).splitlines()) > 1
    if not served:
        return []
    try:
        table = load(run).summary
    except Unfinished:
        return []
    if table.empty:
        return []
    return list(csv.DictReader(io.StringIO(table_text(summary))))
