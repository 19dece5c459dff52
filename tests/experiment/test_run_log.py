"""run.log: what the console showed as lines, with times, and what becomes of it."""

import io
import json
import logging
import re
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fedunlearn.checks import Refused
from fedunlearn.experiment import RUN_LOG, Evaluation, copied_to_log, run
from fedunlearn.experiment.run_log import run_log
from tests.support.breaking import WAVES, Breaking

SMALL = replace(WAVES, requests=WAVES.requests[:1])


@dataclass
class Warning_:
    """An evaluator that warns of itself in both ways."""

    def __call__(self, model, retrained):
        logging.getLogger("somebody").warning("of a logger")
        warnings.warn("of a library", UserWarning, stacklevel=1)
        return {"kept": 0.5}


def lines(folder):
    """Return the lines without their times, which must be of the last minutes and in order."""
    found = [line.split(" ", 1) for line in (folder / RUN_LOG).read_text().splitlines()]
    times = [datetime.strptime(when, "%Y-%m-%dT%H:%M:%S%z") for when, _ in found]
    assert times == sorted(times)
    assert timedelta(minutes=-10) < times[0] - datetime.now(UTC) <= timedelta()
    return [text for _, text in found]


def carried_out(experiment, folder, **how):
    console = Console(file=io.StringIO(), width=300)
    run(experiment, [0], folder, {}, console, **how)
    return console.file.getvalue().splitlines()


def test_it_holds_what_was_printed_and_warned_of(tmp_path):
    evaluation = Evaluation((Warning_(),))
    with pytest.warns(UserWarning, match="of a library"):
        printed = carried_out(replace(SMALL, evaluation=evaluation), tmp_path)
    found = lines(tmp_path)
    assert (found[0], found[-1]) == ("The run starts.", "The run is finished.")
    assert "WARNING: of a logger" in found
    assert "WARNING: UserWarning: of a library" in found
    others = [line for line in found[1:-1] if not line.startswith("WARNING: ")]
    assert others == [line for line in printed if line]
    assert any(re.search(r"rounds, about \d+ s left\]", line) for line in others)


def test_it_goes_on_with_its_run_and_begins_anew_with_another(tmp_path):
    breaking = replace(SMALL, evaluation=Evaluation((Breaking(4),)))
    with pytest.raises(InterruptedError):
        carried_out(breaking, tmp_path)
    stopped = lines(tmp_path)
    assert stopped[-1] == "The run stopped: InterruptedError"
    carried_out(SMALL, tmp_path, resume=True)
    whole = lines(tmp_path)
    assert whole[: len(stopped) + 1] == [*stopped, "The run goes on."]
    assert whole[-1] == "The run is finished."
    carried_out(SMALL, tmp_path, resume=True)
    with pytest.raises(Refused, match="holds a finished run"):
        carried_out(SMALL, tmp_path)
    assert lines(tmp_path) == whole
    carried_out(SMALL, tmp_path, overwrite=True)
    assert lines(tmp_path).count("The run starts.") == 1
    assert "The run goes on." not in lines(tmp_path)
    assert RUN_LOG not in json.loads((tmp_path / "manifest.json").read_text())["files"]


def test_it_holds_tables_as_they_were_but_no_bar_that_moves(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    table = Table("strategy", "accuracy")
    table.add_row("[bold]federaser[/bold]", "0.5")
    with copied_to_log(tmp_path, console), Progress(console=console) as bar:
        task = bar.add_task("moves", total=9)
        for _ in range(9):
            bar.advance(task)
            bar.refresh()
        console.print("[red]said[/red]", "x" * 150, soft_wrap=True)
        console.print(table)
    assert "moves" in console.file.getvalue()
    found = lines(tmp_path)
    assert found[0] == f"said {'x' * 150}"
    assert any(re.search(r"federaser\s+│ 0\.5", line) for line in found)
    assert "\x1b" not in "".join(found)
    assert not any("moves" in line for line in found)


def test_everything_is_as_before_once_it_is_closed(tmp_path):
    before, handlers = warnings.showwarning, list(logging.getLogger().handlers)
    console = Console(file=io.StringIO())
    with pytest.raises(KeyboardInterrupt), run_log(tmp_path, console, resumed=False):
        raise KeyboardInterrupt
    console.print("later")
    assert lines(tmp_path) == ["The run starts.", "The run stopped: KeyboardInterrupt"]
    assert (warnings.showwarning, logging.getLogger().handlers) == (before, handlers)


def test_a_folder_that_takes_no_file_is_refused_by_name(tmp_path):
    (tmp_path / RUN_LOG).mkdir()
    log = run_log(tmp_path, Console(file=io.StringIO()), resumed=False)
    with pytest.raises(Refused, match=r"run\.log cannot be written"), log:
        pass
