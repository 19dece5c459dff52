"""What one run trained, others read: the same results, and nothing is trained twice."""

import hashlib
import io
import multiprocessing
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import fedunlearn
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Cache, Evaluation, run
from fedunlearn.experiment.cache import COUNTING, SHOWING, code_hash
from fedunlearn.files import DamagedFile
from fedunlearn.history import InMemory, OnDisk
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.simulations import cache as command
from fedunlearn.unlearning import Plain, Request, ScopedClients
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from tests.support.folder_contents import contents
from tests.support.killed import WAVES
from tests.support.slow import slowly

ONE = replace(WAVES, requests=(Request(frozenset({1}), 4),), store=InMemory())
STRATEGIES = {
    "none": Nothing(),
    "finetune": FineTune(1),
    "federaser": FedEraser(interval=2),
    "fedaccum": FedAccum(),
}


def carried_out(experiment, folder, seeds=(0,)):
    return run(experiment, seeds, folder, {}, Console(quiet=True))


@pytest.fixture
def trained(monkeypatch):
    """The rounds that clients were asked for."""
    asked, real = [], ScopedClients.train

    def train(self, *args, round, **kwargs):
        asked.append((self.ledger.moment.phase, self.ledger.moment.request))
        return real(self, *args, round=round, **kwargs)

    monkeypatch.setattr(ScopedClients, "train", train)
    return asked


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that holds the training of `ONE`."""
    folder = tmp_path_factory.mktemp("filled")
    carried_out(replace(ONE, strategies={}, cache=folder / "cache"), folder / "one")
    return folder / "cache"


def without_verified(requests):
    """The log of requests but for what certificates say: a cache holds what leavers sent."""
    return pd.read_csv(io.BytesIO(requests)).drop(columns="verified").to_csv()


@pytest.mark.slow
@pytest.mark.parametrize("store", [InMemory(), OnDisk(encoding="bfloat16")])
def test_a_sweep_trains_each_federation_once_and_changes_no_number(store, tmp_path, trained):
    shared = replace(ONE, store=store, cache=tmp_path / "cache")
    for name, strategy in STRATEGIES.items():
        each = replace(shared, strategies={name: strategy})
        carried_out(each, tmp_path / name, seeds=(0, 1))
    once = [moment for moment in trained if moment[0] == "train"]
    # Before the request 4 rounds; after it 3, once for retraining and for each strategy.
    assert len(once) == 2 * (4 + 3 + 3 * len(STRATEGIES))
    retraining = 2 * (4 + 2) + 2 * len(STRATEGIES) * 2  # and recovery of each
    others = 2 * (1 + 1)  # fine-tuning, and the one round that FedEraser calibrates
    assert len(trained) - len(once) == retraining + others
    assert len(Cache(tmp_path / "cache").entries()) == 4
    trained.clear()
    for name, strategy in STRATEGIES.items():
        alone = replace(ONE, store=store, strategies={name: strategy})
        carried_out(alone, tmp_path / "alone" / name, seeds=(0, 1))
        one, other = contents(tmp_path / name), contents(tmp_path / "alone" / name)
        for each in (one, other):  # with a cache more is stored than this strategy needs
            for path in [path for path in each if path.startswith(("history", "certificates"))]:
                del each[path]
            requests = each.pop("requests.csv")
            each["requests"] = without_verified(requests)
            each["manifest.json"] = each["manifest.json"].replace(
                hashlib.sha256(requests).hexdigest(), ""
            )
        assert one == other
    for entry in Cache(tmp_path / "cache").entries():
        Cache(tmp_path / "cache").verify(entry)


@pytest.mark.parametrize(
    ("change", "hits"),
    [
        ({"recovery": Plain(rounds=1)}, True),
        ({"training": replace(WAVES.training, work=LocalWork(1, optimizer=Sgd(0.03)))}, False),
        ({"requests": (Request(frozenset({2}), 4),)}, False),
        ({"store": OnDisk()}, False),
        *slowly(
            ({"strategies": {"none": Nothing()}}, True),
            ({"checkpoint": 99}, True),
            ({"training": replace(WAVES.training, rounds=8)}, False),
            ({"model": Mlp((9,))}, False),
            ({"heldout": 0.25}, False),
            ({"evaluation": Evaluation((Utility(),))}, False),
        ),
    ],
)
def test_only_what_matters_makes_another_entry(change, hits, filled, tmp_path, trained):
    shared = replace(ONE, strategies={}, cache=shutil.copytree(filled, tmp_path / "cache"))
    carried_out(replace(shared, **change), tmp_path / "two")
    assert trained.count(("train", 0)) == (
        0 if hits else change.get("requests", ONE.requests)[0].after
    )
    assert ("train", 1) in trained


def test_another_seed_or_code_makes_another_entry(tmp_path, trained, monkeypatch):
    shared = replace(ONE, strategies={}, cache=tmp_path / "cache")
    carried_out(shared, tmp_path / "one")
    carried_out(shared, tmp_path / "two", seeds=(1,))
    monkeypatch.setattr("fedunlearn.experiment.shared_stages.code_hash", lambda *further: "another")
    carried_out(shared, tmp_path / "three")
    assert trained.count(("train", 0)) == 3 * 4
    assert len({entry.folder.name for entry in Cache(tmp_path / "cache").entries()}) == 3


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("local/sgd.py", True),
        ("randomness.py", True),
        ("experiment/seed_run.py", True),
        ("results/branches.py", True),
        ("results/looks.py", False),
        ("results/costing/times.py", False),
        ("results/verdicts.py", False),
        ("history/audit/search.py", False),
        ("attacks/games.py", False),
        ("experiment/estimate/timing.py", False),
        ("experiment/loggers/mlflow.py", False),
    ],
)
def test_the_code_that_trains_is_part_of_it_and_what_shows_results_is_not(
    tmp_path, monkeypatch, file, counts
):
    place = tmp_path / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(fedunlearn, "__file__", str(tmp_path / "__init__.py"))
        before = code_hash()
        place.write_text("a = 2\n")
        assert (code_hash() != before) is counts


def test_the_rooms_that_show_results_exist():
    ours = Path(fedunlearn.__file__).parent
    assert all((ours / name).is_dir() for name in SHOWING)
    assert all((ours / name).is_file() for name in COUNTING)


def test_the_file_of_the_reference_is_part_of_it(tmp_path):
    extra = tmp_path / "strategy.py"
    extra.write_text("x = 1\n")
    assert code_hash() != code_hash(extra)
    before = code_hash(extra)
    extra.write_text("x = 2\n")
    assert code_hash(extra) != before


def _in_a_process(folder, cache):
    carried_out(replace(ONE, cache=cache), folder)


@pytest.mark.slow
def test_two_processes_at_once_make_one_entry(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.killed"])
    both = [
        context.Process(target=_in_a_process, args=(tmp_path / name, tmp_path / "cache"))
        for name in ("one", "two")
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    kinds = [entry.facts["kind"] for entry in Cache(tmp_path / "cache").entries()]
    assert sorted(kinds) == ["reference", "training"]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What filled a cache with its training and its reference."""
    folder = tmp_path_factory.mktemp("whole")
    shared = replace(ONE, strategies={"none": Nothing()}, cache=folder / "cache")
    carried_out(shared, folder / "one")
    return shared


class TestDamage:
    @pytest.fixture
    def cached(self, whole, tmp_path):
        return replace(whole, cache=shutil.copytree(whole.cache, tmp_path / "cache"))

    @pytest.mark.parametrize(
        "name",
        ["facts.json", "metrics.csv", "ledger.csv", "checkpoint/state.safetensors"],
    )
    def test_is_named_and_never_read(self, cached, name, tmp_path):
        for entry in Cache(cached.cache).entries():
            content = bytearray((entry.folder / name).read_bytes())
            content[len(content) // 2] ^= 4
            (entry.folder / name).write_bytes(content)
        with pytest.raises(DamagedFile, match=name.replace(".", r"\.")):
            carried_out(cached, tmp_path / "two")

    def test_is_found_by_the_command(self, cached, monkeypatch, capsys, tmp_path):
        def said(*arguments):
            monkeypatch.setattr(sys, "argv", ["fedunlearn cache", *map(str, arguments)])
            command.main()
            return capsys.readouterr().out

        listing = said("ls", cached.cache)
        assert "training-" in listing
        assert listing.count("Digits") == listing.count("Mlp") == 2
        assert said("verify", cached.cache).count("is whole.") == 2
        (rounds,) = [e for e in Cache(cached.cache).entries() if e.facts["kind"] == "training"]
        some = next((rounds.folder / "checkpoint" / "rounds").glob("*.safetensors"))
        some.write_bytes(some.read_bytes()[:-1])
        with pytest.raises(SystemExit, match="2"):
            said("verify", cached.cache)
        assert "does not match its checksum" in capsys.readouterr().err
        assert said("rm", cached.cache, rounds.folder.name[:12]).endswith("is gone.\n")
        with pytest.raises(SystemExit):
            said("rm", cached.cache, "nobody")
        assert "nobody names no entry" in capsys.readouterr().err
        said("rm", cached.cache, "--all")
        assert Cache(cached.cache).entries() == []
