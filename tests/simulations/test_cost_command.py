"""`fedunlearn cost`: from the folder of a finished run to two tables on screen and on disk."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from rich.console import Console

from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results import load, span
from fedunlearn.results.costing import (
    Devices,
    Lognormal,
    Prices,
    break_even,
    break_even_printed,
    costs_printed,
    costs_table,
)
from fedunlearn.simulations import __main__ as command
from fedunlearn.simulations import configured, guard
from fedunlearn.simulations.cost import chosen, devices_of, gathering
from fedunlearn.unlearning import Charge, Moment

CHOICES = sorted(path.stem for path in Path(guard.CONF).glob("devices/*.yaml"))

RIDGE = {"_target_": "strategies.ridge_head.RidgeHead"}
FINETUNE = {"_target_": "strategies.finetune.FineTune"}


def case(strategy, request, *, down, epochs, stored, seed=0):
    costs = {
        "samples": 0,
        "rounds": 2,
        "seconds": 1.0,
        "store_bytes": stored,
        "scope": "everything",
    }
    names = {"seed": seed, "strategy": strategy, "request": request, "clients": "0", "probe": ""}
    return {**names, "bytes_down": down, "bytes_up": down, "client_epochs": epochs, **costs}


@pytest.fixture
def finished(tmp_path):
    """Two requests; devices cost nothing unless said otherwise, and each record took 0.1 s."""
    folder = tmp_path / "run"
    at = [Moment("train", 0, 1), *(Moment("unlearn", n, 1) for n in (1, 2))]
    with RunFolder(folder) as written:
        first, second = (
            Charge(at[0], 0, 100, 40, 10, 1.0, 10),
            Charge(at[0], 0, 100, 100, 50, 5.0, 10),
        )
        written.charges(0, "shared", [first, second])
        for moment in at[1:]:
            written.charges(0, "retrain", [Charge(moment, 1, 5000, 5000, 600, 60.0, 20)])
            written.charges(0, "finetune", [Charge(moment, 1, 500, 500, 60, 6.0, 20)])
        written.clients(0, ["a"], np.array([[10], [20]]), np.array([[1], [1]]))
        written.summary(
            [
                case(name, n, down=down, epochs=epochs, stored=stored)
                for n in (1, 2)
                for name, down, epochs, stored in (
                    ("retrain", 5000, 30.0, 100),
                    ("finetune", 500, 3.0, 100),
                    ("ridge_head", 0, 0.0, 40_100),
                )
            ]
        )
        strategies = {"ridge_head": RIDGE, "finetune": FINETUNE}
        written.manifest({"config": {"strategies": strategies, "seed": 0}})
    return folder


@pytest.fixture
def told(monkeypatch, capsys):
    """Run the command; return what it says and what it complains of."""

    def told(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "cost", *map(str, arguments)])
        command.main()
        return capsys.readouterr().out

    return told


def rows_of(said):
    lines = (line.removeprefix("► ").split() for line in said.splitlines())
    return [line for line in lines if line and line[0] in ("retrain", "finetune", "ridge_head")]


class TestCommand:
    def test_it_prints_both_tables_and_writes_them(self, finished, told):
        said = told(finished)
        assert max(map(len, said.splitlines())) <= max(100, len(str(finished)) + 20)
        rows = rows_of(said)
        assert " ".join(rows[0]) == "retrain 30 <0.1 <0.1 2 1 min 1 min - 1 min 1.00"
        assert " ".join(rows[1]) == "finetune 3 <0.1 <0.1 2 6 s 6 s - 6 s 0.10"
        assert " ".join(rows[2]) == "ridge_head 0 0 <0.1 2 0 s 0 s - 0 s 0.00"
        assert rows[3:6] == rows[:3]
        assert rows[6:] == [
            ["finetune", "1", "1", "1", "1"],
            ["ridge_head", "1", "5", "1", "1"],
        ]
        for word in ("Request 1", "Request 2", "Share of", "in money"):
            assert word in said
        run = load(finished)
        tables = {
            "costs.csv": costs_table(run, Devices()),
            "break_even.csv": break_even(run, Devices(), Prices(), {"ridge_head"}),
        }
        for name, table in tables.items():
            assert str(finished / name) in said
            read = pd.read_csv(finished / name, dtype={"clients": str})
            pd.testing.assert_frame_equal(read, table, check_dtype=False)
        extra = tables["break_even.csv"].set_index(["strategy", "cost"])["extra"]
        assert extra["ridge_head", "client_epochs"] == 10 / 10
        assert extra["ridge_head", "bytes"] == 40_000 + 140
        assert extra["finetune", "bytes"] == 0

    def test_devices_of_the_command_line_come_before_the_run_s_own(self, finished, told):
        manifest = finished / "manifest.json"
        content = json.loads(manifest.read_text())
        part = OmegaConf.load(Path(guard.CONF) / "devices" / "none.yaml")
        own = {**OmegaConf.to_container(part), "pace": 1.0}
        content["config"]["devices"] = own
        del content["sha256"]
        manifest.write_text(json.dumps(content))
        assert devices_of(load(finished)) == Devices(pace=1.0)
        assert rows_of(told(finished))[0][5:7] == ["10", "min"]
        assert rows_of(told(finished, "devices.pace=60"))[0][5:7] == ["10", "s"]
        said = told("devices=silos", finished, "devices.server.speed=2", "devices.draws=3")
        assert rows_of(said)[0][5:7] != ["1", "min"]

    def test_a_multirun_is_told_run_by_run(self, finished, told):
        other = finished.parent / "other"
        other.mkdir()
        for file in finished.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        said = told(finished.parent)
        assert said.index(f"{other}\n") < said.index(f"{finished}\n")
        assert (other / "costs.csv").exists()
        assert (finished / "costs.csv").exists()

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["devices=phnes"], "devices=phnes does not exist; did you mean phones?"),
            (["devices.draw=3"], "devices.draw does not exist; did you mean draws?"),
            (["devices.draws=0"], "devices.draws must be a whole number of at least 1, not 0"),
            (["devices.pace=-1"], "devices.pace must be a number above 0"),
            (["devices.prices.gb_sent=-1"], "devices.prices.gb_sent must be a number at least 0"),
            (["seed=3"], "seed=3 would change nothing"),
            (["nowhere"], "nowhere holds no run"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_is_a_sentence_and_exit_code_2(
        self, finished, told, capsys, words, sentence
    ):
        with pytest.raises(SystemExit) as left:
            told(*words, finished)
        assert left.value.code == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert len(error.splitlines()) == 1
        assert not (finished / "costs.csv").exists()

    def test_a_run_s_folder_must_be_named_and_must_have_served_somebody(
        self, finished, told, capsys
    ):
        with pytest.raises(SystemExit):
            told("devices=phones")
        assert "Name the folder of a run" in capsys.readouterr().err
        summary = finished / "summary.csv"
        summary.write_text(summary.read_text().splitlines()[0] + "\n")
        with pytest.raises(SystemExit):
            told(finished)
        assert "has served no request yet" in capsys.readouterr().err

    def test_the_usage_names_it(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "--help"])
        with pytest.raises(SystemExit):
            command.main()
        assert "\n  cost  " in capsys.readouterr().out


class TestConfigurations:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_lists_every_field(self, choice):
        with initialize_config_dir(guard.CONF, version_base="1.3"):
            part = compose("config", overrides=[f"devices={choice}"]).devices
        made = configured.build("devices", part)
        assert isinstance(made, Devices)
        kinds = list(part.kinds.values())
        for given in (part, part.server, part.prices, *kinds):
            fields = get_class(given["_target_"]).__dataclass_fields__
            assert set(given) - {"_target_"} == set(fields)
        fleet = made.fleet(0, np.zeros(5, int), np.arange(5))
        assert (fleet.speed > 0).all()
        assert made.draws == 20

    def test_the_default_is_what_runs_without_devices_get(self):
        with initialize_config_dir(guard.CONF, version_base="1.3"):
            assert configured.build("devices", compose("config").devices) == Devices()

    def test_phones_have_the_mean_rates_of_their_source(self):
        kinds = chosen(["devices=phones"]).kinds
        for kind, down, up in ((kinds["phone"], 36e6, 11e6), (kinds["laptop"], 86e6, 46e6)):
            for law, mean in ((kind.download, down), (kind.upload, up)):
                assert isinstance(law, Lognormal)
                assert law.median * np.exp(law.sigma**2 / 2) == pytest.approx(mean, rel=0.02)

    def test_overrides_reach_the_innermost_value(self):
        made = chosen(["devices=phones", "devices.kinds.phone.speed.median=7"])
        assert made.kinds["phone"].speed.median == 7
        assert made.kinds["laptop"].speed.median != 7


def test_who_gathered_statistics_is_read_from_the_configuration(finished):
    assert gathering(load(finished)) == {"ridge_head"}


def test_the_library_needs_no_torch():
    """So that tables of costs are there at once."""
    script = "import sys, fedunlearn.results.costing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (0.01, "<0.1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "1.5 min"),
        (3600, "1 h"),
        (86400 * 200, "200 d"),
        (float("nan"), "unknown"),
        (float("inf"), "inf d"),
    ],
)
def test_times_are_written_in_their_unit(seconds, written):
    assert span(seconds) == written


def test_spread_and_never_are_told():
    row = {"strategy": "s", "requests": 3.0, "requests_low": 2.0, "requests_high": np.inf}
    others = {"requests": np.inf, "requests_low": np.inf, "requests_high": np.inf}
    rows = [
        {**row, "cost": "time"},
        *({**row, **others, "cost": c} for c in ("bytes", "client_epochs")),
    ]
    rows.append({**row, "cost": "money", "requests_high": 1204.0})
    console = Console(width=100, file=io.StringIO())
    console.print(break_even_printed(pd.DataFrame(rows)))
    line = console.file.getvalue().splitlines()[-1]
    assert " ".join(line.split()) == "s 3 (2 - never) never never 3 (2 - 1,204)"


def test_one_request_needs_no_heading(finished):
    costs = costs_table(load(finished), Devices())
    console = Console(width=100, file=io.StringIO())
    console.print(costs_printed(costs[costs["request"] == 1]))
    assert "Request" not in console.file.getvalue()
