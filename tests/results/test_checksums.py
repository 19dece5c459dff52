"""The files of a finished run are those that it wrote, or are named."""

import json

import pytest

from fedunlearn.checks import Refused
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import load, require_written


@pytest.fixture
def finished(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.verdicts([])
        folder.manifest({"status": "finished", "files": folder.checksums})
    return tmp_path


@pytest.mark.parametrize("name", ["metrics.csv", "ledger.csv", "summary.csv", "clients.csv"])
def test_a_table_that_was_changed_is_named_with_the_way_on(finished, name):
    load(finished)
    with (finished / name).open("a") as table:
        table.write("\n")
    for read in (load, require_written):
        with pytest.raises(Refused, match=rf"{name} is not as the run wrote it.*delete its line"):
            read(finished)


def test_a_line_that_was_deleted_lets_a_table_be_read_but_not_verified(finished):
    manifest = finished / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["files"]["metrics.csv"], content["sha256"]
    manifest.write_text(json.dumps(content))
    (finished / "metrics.csv").write_text("seed,strategy,request,phase,round,metric,value\n")
    load(finished)
    with pytest.raises(Refused, match=r"lists no SHA-256 of metrics.csv"):
        require_written(finished)


@pytest.mark.parametrize("files", [[], {"metrics.csv": 1}, {"../metrics.csv": "0"}, "x"])
def test_what_lists_no_files_is_refused(finished, files):
    (finished / "manifest.json").write_text(json.dumps({"files": files}))
    with pytest.raises(Refused, match="does not list files by their paths"):
        load(finished)


def test_what_a_later_command_writes_is_not_asked_about(finished):
    for name in ("attacks.csv", "costs.csv", "report.html"):
        (finished / name).write_text("x")
    assert require_written(finished).keys() >= {"metrics.csv", "verdicts.csv"}
