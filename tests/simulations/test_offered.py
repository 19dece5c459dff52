"""Nothing that lies in a run's folder runs code."""

import json
from pathlib import Path

import pytest

from fedunlearn.checks import Refused
from fedunlearn.results import load
from fedunlearn.simulations import configured, cost, report
from fedunlearn.simulations.offered import offered, require_offered
from tests.support.simulated_runs import simulated

HOSTILE = (
    "pandas.read_pickle",
    "torch.hub.load",
    "fedunlearn.files.remove",
    "os.system",
    "builtins.eval",
    "fedunlearn.data",
    "hydra.utils.get_method",
    "strategies.none.Nothing.unlearn",
)
"""What a stranger's manifest may name."""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A run's folder whose manifest names `target` at `key`, beside a file that must stay."""
    monkeypatch.chdir(tmp_path)
    folder = simulated(tmp_path / "run")
    (tmp_path / "mine").write_text("mine")

    def named(key, target):
        part = {"_target_": target, "path": str(tmp_path / "mine")}
        config = {"strategies": {"federaser": {"_target_": "strategies.federaser.FedEraser"}}}
        *steps, last = key.split(".")
        place = config
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = part
        manifest = json.loads((folder / "manifest.json").read_text())
        unsealed = {key: part for key, part in manifest.items() if key != "sha256"}
        (folder / "manifest.json").write_text(json.dumps({**unsealed, "config": config}))
        return folder

    yield named
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize("key", ["dataset", "model", "strategies.federaser.work.optimizer"])
def test_attack_and_score_build_no_class_that_nobody_offers(stranger, key, target):
    run = load(stranger(key, target))
    with pytest.raises(Refused, match=f"{key}._target_={target}, which no configuration"):
        configured.rebuilt(run)


@pytest.mark.parametrize("target", HOSTILE)
def test_cost_and_report_build_none_either(stranger, target):
    run = load(stranger("devices", target))
    with pytest.raises(Refused, match="which no configuration on this machine offers"):
        cost.devices_of(run)
    folder = stranger("strategies.federaser", target)
    with pytest.raises(Refused, match="what lies in a folder runs no code"):
        cost.gathering(load(folder))
    assert report.declared(folder).capabilities == []


def test_what_ours_and_the_user_s_conf_name_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"strategies.federaser.FedEraser", "fedunlearn.data.Digits"} <= offered()
    require_offered({"a": [{"_target_": "fedunlearn.models.Mlp"}]}, Path("manifest.json"))
    with pytest.raises(Refused, match=r"a\[0\]._target_=mine.Net"):
        require_offered({"a": [{"_target_": "mine.Net"}]}, Path("manifest.json"))
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text("_target_: mine.Net\n")
    require_offered({"a": [{"_target_": "mine.Net"}]}, Path("manifest.json"))
