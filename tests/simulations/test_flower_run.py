"""The Flower app of `flwr run`: the run config, the apps in this process, and Flower's own way."""

import io
import json
import sys
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.config import parse_config_args
from flwr.serverapp import ServerApp
from rich.console import Console

import fedunlearn
from fedunlearn.checks import Refused
from fedunlearn.experiment import run
from fedunlearn.flower import InProcessGrid, Local
from fedunlearn.results import load
from fedunlearn.simulations import flower_app
from fedunlearn.simulations.run_config import asked, split
from fedunlearn.unlearning import ClientFailed
from tests.support.flwr_command import PROC, flwr_command
from tests.support.slow import slowly

APP = Path(__file__).parents[2] / "simulations/flower"
PROJECT = tomllib.loads((APP / "pyproject.toml").read_text())
FLOWER = PROJECT["tool"]["flwr"]["app"]
TINY = (
    "partition.clients=3 model=mlp 'model.hidden=[8]' training.rounds=2 training.work.epochs=1 "
    "strategy=federaser strategy.interval=1 figures=false seed=4 "
    "dataset._target_=tests.support.world.FewDigits ~dataset.test_share"
)

COMPARED = TINY.replace("seed=4 ", "")
"""The same for ``compare``, which takes seeds."""


def config(folder="/nowhere", overrides="", command="withdraw"):
    return {"folder": str(folder), "overrides": overrides, "command": command}


class TestRunConfig:
    def test_overrides_are_split_as_a_shell_does(self):
        assert split("") == []
        assert split("a=1  b=[x,y]\n'c=[{after: 1}]'") == ["a=1", "b=[x,y]", "c=[{after: 1}]"]

    def test_flower_s_own_parser_hands_them_through(self, tmp_path):
        line = f'command="compare" overrides="{TINY}"'
        file = tmp_path / "run.toml"
        file.write_text(line.replace(" overrides=", "\noverrides="))
        for given in ([line], [str(file)]):
            assert parse_config_args(given) == {"command": "compare", "overrides": TINY}
        assert "model.hidden=[8]" in split(TINY)

    @pytest.mark.parametrize(
        ("overrides", "sentence"),
        [
            (3, "overrides must be one string"),
            ("a='b", "overrides cannot be split: No closing quotation"),
            ("-m seed=0,1", "holds -m, an option of the command line"),
            ("engine=ray", "holds engine=ray, but under `flwr run`"),
            ("engine.workers=3", "Leave it out; --federation-config"),
        ],
    )
    def test_what_has_no_meaning_here_is_refused(self, overrides, sentence):
        with pytest.raises(Refused, match=sentence):
            split(overrides)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (config(overrides="strategy=federasr"), "did you mean federaser"),
            (config(overrides="training.round=3"), "did you mean rounds"),
            (config(command="plot"), "command=plot does not exist"),
            (config(folder="results"), "results. is relative"),
        ],
    )
    def test_mistakes_are_sentences(self, given, sentence):
        with pytest.raises(Refused, match=sentence):
            asked(given)

    def test_withdraw_asks_for_one_strategy_and_seed(self):
        found = asked(config("/results", TINY))
        assert list(found.strategies) == ["none", "federaser"]
        assert found.experiment.strategies["federaser"].interval == 1
        assert list(found.seeds) == [4]
        assert found.folder.parent == Path("/results/outputs/withdraw")

    def test_compare_asks_for_several(self):
        given = f"{COMPARED} strategies=[none,federaser] seeds=[1,2] hydra.run.dir=mine"
        found = asked(config("~/results", given, "compare"))
        assert list(found.strategies) == ["none", "federaser"]
        assert found.experiment.strategies["federaser"].interval == 1
        assert list(found.seeds) == [1, 2]
        assert found.folder == Path.home() / "results" / "mine"

    def test_an_absolute_run_folder_stays(self):
        assert asked(config(overrides="hydra.run.dir=/there")).folder == Path("/there")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of a user's own, which lies nowhere near the working directory."""
    folder = tmp_path / "own"
    (folder / "conf/model").mkdir(parents=True)
    (folder / "conf/model/mine.yaml").write_text("_target_: netofmine.Net\nhidden: [8]\n")
    code = "from fedunlearn.models import Mlp\n\nclass Net(Mlp):\n    pass\n"
    (folder / "netofmine.py").write_text(code)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "netofmine", raising=False)
    return folder


class TestOwn:
    def test_a_folder_of_ones_own_is_looked_into(self, own):
        given = {**config(overrides=f"{TINY} model=mine".replace("model=mlp", "")), "own": str(own)}
        assert asked(given).cfg.model["_target_"] == "netofmine.Net"
        assert type(asked(given).experiment.model).__name__ == "Net"
        with pytest.raises(Refused, match="model=mine does not exist"):
            asked({**given, "own": ""})

    def test_what_is_wrong_with_it_is_a_sentence(self, own):
        (own / "strategies").mkdir()
        (own / "strategies/__init__.py").touch()
        for folder, sentence in (
            ("here", 'own="here" is relative'),
            (own / "nowhere", "nowhere is not a folder on this machine"),
            (own, "hides the strategies of fedunlearn"),
        ):
            with pytest.raises(Refused, match=sentence):
                asked({**config(), "own": str(folder)})

    def test_what_is_not_found_was_looked_for_there(self, own):
        with pytest.raises(Refused, match=f"{own}/conf/model; your own is .* in {own}"):
            asked({**config(overrides="model=mein"), "own": str(own)})


class TestApp:
    def test_the_app_is_this_version_and_its_components_exist(self):
        assert PROJECT["project"]["version"] == fedunlearn.__version__
        for component, kind in (("serverapp", ServerApp), ("clientapp", ClientApp)):
            module, _, name = FLOWER["components"][component].partition(":")
            assert isinstance(getattr(import_module(module), name), kind)

    def test_its_defaults_can_be_run(self):
        assert asked(FLOWER["config"]).experiment.strategies


def flown(run_config, supernodes):
    """Run the two apps as Flower does, in this process."""

    def client(message, context):
        context.run_config = run_config
        return flower_app.client(message, context)

    grid = InProcessGrid(client, supernodes, workers=2)
    context = Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=run_config
    )
    try:
        flower_app.server(grid, context)
    finally:
        grid.close()


def ordinary(run_config, folder):
    """Run the same without Flower's grid, each client by itself; return metrics.csv."""
    plain, console = asked(run_config), Console(file=io.StringIO())
    experiment = replace(plain.experiment, engine=Local(mode="workers"))
    run(experiment, plain.seeds, folder, {}, console)
    return (folder / "metrics.csv").read_bytes()


class TestInProcess:
    @pytest.mark.parametrize(
        ("command", "more"),
        [
            ("withdraw", "planting=backdoor"),
            ("compare", "strategies=[ridge_head] seeds=[4]"),
            *slowly(("compare", "strategies=[none] seeds=[3,5]")),
        ],
    )
    def test_the_numbers_are_those_of_the_ordinary_run(self, tmp_path, capsys, command, more):
        alone = COMPARED.replace("strategy=federaser strategy.interval=1 ", "")
        overrides = TINY if command == "withdraw" else alone
        given = config(tmp_path, f"{overrides} {more} hydra.run.dir=flown", command)
        flown(given, supernodes=3)
        folder = tmp_path / "flown"
        assert (folder / "metrics.csv").read_bytes() == ordinary(given, tmp_path / "ordinary")
        shown = capsys.readouterr().out
        assert shown.rstrip().endswith(f"fedunlearn finished: {folder}")
        manifest = load(folder).manifest
        assert manifest["status"] == "finished"
        assert (
            manifest["config"]["engine"]["_target_"]
            == "fedunlearn.simulations.flower_app.GivenGrid"
        )

    @pytest.mark.parametrize("supernodes", [2, 4])
    def test_every_client_needs_its_supernode(self, tmp_path, capsys, supernodes):
        sentence = f'simulates {supernodes}. Add --federation-config "num-supernodes=3"'
        with pytest.raises(Refused, match=sentence):
            flown(config(tmp_path, TINY), supernodes)
        assert "fedunlearn FAILED: partition.clients=3 needs 3" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == []

    def test_a_failing_client_ends_the_run_and_the_manifest_says_so(self, tmp_path, capsys):
        fails = "+training.work.objective._target_=tests.support.world.Fragile hydra.run.dir=."
        with pytest.raises(ClientFailed, match=r"(?s)Client \d failed.*odd batch"):
            flown(config(tmp_path, f"{TINY} ~training.work.objective {fails}"), supernodes=3)
        assert "fedunlearn FAILED: Client 0 failed" in capsys.readouterr().out
        assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "failed"


@pytest.fixture(scope="module")
def flwr(tmp_path_factory):
    """Yield a function that calls `flwr` with a SuperLink of its own, and offline."""
    with flwr_command(tmp_path_factory.mktemp("flower"), APP) as call:
        yield call


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not PROC, reason="finds processes in /proc")
class TestFlwrRun:
    def test_it_writes_what_the_ordinary_run_writes(self, flwr, tmp_path):
        overrides = f"{TINY} figures=true hydra.run.dir=flown"
        done = flwr(
            "run", ".", "--stream",
            "--federation-config", "num-supernodes=3 client-resources-num-cpus=1",
            "--run-config", f'overrides="{overrides}" folder="{tmp_path}"',
        )  # fmt: skip
        folder = tmp_path / "flown"
        assert f"fedunlearn finished: {folder}" in done.stdout, done.stdout + done.stderr
        assert done.returncode == 0
        assert load(folder).manifest["status"] == "finished"
        assert (folder / "figures" / "forgetting.png").exists()
        assert (
            len(list((folder / "models").glob("*.safetensors"))) == 4
        )  # before, retrained, untouched, FedEraser's
        expected = ordinary(config(tmp_path, overrides), tmp_path / "ordinary")
        assert (folder / "metrics.csv").read_bytes() == expected

    def test_a_refusal_reaches_the_log_and_the_list_but_not_the_exit_code(self, flwr, tmp_path):
        done = flwr("run", ".", "--stream",
                    "--run-config", f'overrides="{TINY}" folder="{tmp_path}"')  # fmt: skip
        sentence = 'but Flower simulates 2. Add --federation-config "num-supernodes=3"'
        failed = [line for line in done.stdout.splitlines() if line.startswith("fedunlearn FAILED")]
        assert len(failed) == 1, done.stdout + done.stderr
        assert sentence in failed[0]
        assert done.returncode == 0  # Flower's; docs/flower-run.md says so
        latest = json.loads(flwr("list", "--format", "json").stdout)["runs"][0]
        assert latest["status"] == "finished:failed"
        assert sentence in latest["status-details"]
        assert list(tmp_path.iterdir()) == []
