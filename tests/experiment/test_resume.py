"""A run that is killed at any moment and resumed ends as one that nobody disturbed."""

import logging
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from fedunlearn import files, sealed_files
from fedunlearn.checks import Refused
from fedunlearn.experiment import erasure, run
from fedunlearn.experiment.checkpoint import TRAINING, Checkpoint, RunState, Stage
from fedunlearn.experiment.measuring import Measuring
from fedunlearn.experiment.seed_references import SeedReferences
from fedunlearn.experiment.whole_run import LOCK
from fedunlearn.files import DamagedFile
from fedunlearn.history import History, OnDisk, Round, Updates, Window, round_files
from fedunlearn.locks import alone
from fedunlearn.models import Layout
from fedunlearn.results.certificates import chain
from fedunlearn.unlearning import FederationState, ScopedClients
from tests.support.folder_contents import contents
from tests.support.killed import KEPT, SEEDS, WAVES, carry_out, killed
from tests.support.slow import slowly

KILLS = int(os.environ.get("FEDUNLEARN_KILLS", "21"))


@pytest.fixture(
    scope="module",
    params=[
        "float32",
        *slowly("memory", "int8"),
    ],
)
def undisturbed(request, tmp_path_factory):
    """How rounds are kept, a whole run's folder, and how often clients were asked in it."""
    folder, asked = tmp_path_factory.mktemp(request.param), []
    with pytest.MonkeyPatch.context() as patch:
        counted(patch, asked)
        carry_out(folder, request.param, resume=False)
    return request.param, folder, len(asked)


def counted(patch, asked):
    """From now on, put into ``asked`` whenever clients are asked to train."""
    real = ScopedClients.train
    patch.setattr(ScopedClients, "train", lambda *a, **k: asked.append(1) or real(*a, **k))


def require_equal(one, other):
    found, wanted = contents(one), contents(other)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert not [*one.rglob(".*.partial"), *one.rglob("checkpoint")]


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(KILLS))
def test_runs_killed_at_random_moments_end_as_one_that_was_not(
    trial, tmp_path_factory, record_property
):
    rng = np.random.default_rng([2026, trial])
    kept = list(KEPT)[trial % len(KEPT)]
    whole, folder = (tmp_path_factory.getbasetemp() / f"whole-{kept}", tmp_path_factory.mktemp("k"))
    if not whole.exists():
        carry_out(whole, kept, resume=False)
    deaths = 0
    for _ in range(int(rng.integers(1, 4))):
        by_event = {"event": int(rng.integers(1, 900))}
        by_clock = {"seconds": float(rng.uniform(0.05, 1.0))}
        deaths += killed(folder, kept, **(by_event if rng.random() < 0.7 else by_clock))
    record_property("kills", deaths)  # for --junit-xml FILE -o junit_family=xunit1
    carry_out(folder, kept)
    require_equal(folder, whole)


class Died(BaseException):
    pass


def interrupted(monkeypatch, folder, kept, owner, name, calls):
    """Carry out until ``owner.name`` is called for the ``calls``-th time."""
    real, left = getattr(owner, name), [calls]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise Died
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Died):
            carry_out(folder, kept)


class TestStages:
    """The same within one process, at moments that random kills may miss."""

    @pytest.mark.parametrize("calls", [1, *slowly(2, 5, 9)])
    def test_in_the_middle_of_a_purge(self, undisturbed, calls, tmp_path, monkeypatch):
        kept, whole, _ = undisturbed
        if kept == "memory":
            pytest.skip("nothing is on disk")
        interrupted(monkeypatch, tmp_path, kept, round_files, "rewrite_without", calls)
        carry_out(tmp_path, kept)
        require_equal(tmp_path, whole)

    @pytest.mark.parametrize("calls", [44, *slowly(1, 3, 17, 30, 60)])
    def test_in_the_middle_of_training_unlearning_and_recovery(
        self, undisturbed, calls, tmp_path, monkeypatch
    ):
        kept, whole, rounds = undisturbed
        interrupted(monkeypatch, tmp_path, kept, ScopedClients, "train", calls)
        again = []
        counted(monkeypatch, again)
        carry_out(tmp_path, kept)
        require_equal(tmp_path, whole)
        # what was finished is not done again, and a stage has at most 8 rounds
        assert rounds - calls <= len(again) <= rounds - calls + 8

    @pytest.mark.slow
    @pytest.mark.parametrize("calls", [1, 2, 3, 4])
    def test_rounds_written_after_the_checkpoint_are_no_part_of_a_purge(
        self, undisturbed, calls, tmp_path, monkeypatch
    ):
        """A killed process may leave some; no certificate names them."""
        kept, whole, _ = undisturbed
        if kept == "memory":
            pytest.skip("nothing is on disk")
        interrupted(monkeypatch, tmp_path, kept, erasure, "to_purge", calls)
        written = next((tmp_path / "history").rglob("round-*.safetensors"))
        shutil.copy(written, written.with_name("round-000099.safetensors"))
        carry_out(tmp_path, kept)
        require_equal(tmp_path, whole)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "calls"), [("text", 1), ("text", 4), ("encode", 2), ("digest", 7)]
    )
    def test_while_certificates_are_written(self, undisturbed, name, calls, tmp_path, monkeypatch):
        kept, whole, _ = undisturbed
        interrupted(monkeypatch, tmp_path, kept, chain, name, calls)
        written = len([*tmp_path.glob("certificates/*.json")])
        assert written == {"text": calls - 1, "encode": calls - 1, "digest": calls}[name]
        carry_out(tmp_path, kept)
        require_equal(tmp_path, whole)

    def test_a_finished_run_is_only_read(self, undisturbed, monkeypatch):
        kept, whole, _ = undisturbed
        before = contents(whole)
        monkeypatch.setattr(ScopedClients, "train", None)
        summary = carry_out(whole, kept)
        assert contents(whole) == before
        assert len(summary) == len(SEEDS) * 3 * 2


class TestRefusals:
    def test_a_finished_folder_is_replaced_only_where_that_is_said(self, undisturbed, tmp_path):
        kept, whole, _ = undisturbed
        metrics = (whole / "metrics.csv").read_bytes()
        with pytest.raises(Refused, match=r"holds a finished run.*run=.*overwrite=true"):
            carry_out(whole, kept, resume=False)
        assert (whole / "metrics.csv").read_bytes() == metrics

    @pytest.mark.parametrize("name", ["models/seed0-shared-request0.safetensors", "metrics.csv"])
    def test_a_file_that_was_damaged_meanwhile_ends_the_run(self, name, tmp_path, monkeypatch):
        interrupted(monkeypatch, tmp_path, "memory", ScopedClients, "train", 20)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(Refused, match=f"{name} is not as the run wrote it"):
            carry_out(tmp_path, "memory")

    def test_references_of_another_seed_are_none(self):
        federation = SimpleNamespace(scenario=SimpleNamespace(seed=1))
        measuring = Measuring(WAVES, federation, None, None, None)
        with pytest.raises(ValueError, match="References of seed 0 in seed 1"):
            measuring.restore(SeedReferences(0))

    def test_another_configuration_is_not_mixed_in(self, undisturbed):
        kept, whole, _ = undisturbed
        other = replace(WAVES, store=KEPT[kept])
        with pytest.raises(Refused, match="another configuration of kept"):
            run(other, SEEDS, whole, {"kept": "other"}, Console(quiet=True), resume=True)
        with pytest.raises(Refused, match=r"other seeds: \[0, 1\], and here it would be \[0\]"):
            run(other, (0,), whole, {"kept": kept}, Console(quiet=True), resume=True)

    def test_two_processes_do_not_share_a_folder(self, tmp_path):
        with alone(tmp_path / LOCK, "it"), pytest.raises(Refused, match="in use by another proc"):
            carry_out(tmp_path, "memory")
        assert not (tmp_path / "metrics.csv").exists()

    def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(self, tmp_path, monkeypatch):
        interrupted(monkeypatch, tmp_path, "float32", ScopedClients, "train", 20)
        path = tmp_path / "checkpoint" / "state.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        metrics = (tmp_path / "metrics.csv").read_bytes()
        with pytest.raises(DamagedFile, match=r"state\.safetensors cannot be used"):
            carry_out(tmp_path, "float32")
        assert (tmp_path / "metrics.csv").read_bytes() == metrics

    def test_a_folder_begun_anew_holds_nothing_of_the_run_before(self, tmp_path, monkeypatch):
        interrupted(monkeypatch, tmp_path, "float32", ScopedClients, "train", 20)
        assert (tmp_path / "checkpoint").exists()
        tiny = replace(WAVES, strategies={}, store=OnDisk(limit=1e9))
        run(tiny, (0,), tmp_path, {}, Console(quiet=True))
        assert not (tmp_path / "history").exists()
        assert not (tmp_path / "checkpoint").exists()


def test_a_run_whose_checkpoint_is_gone_says_that_it_begins_anew(undisturbed, tmp_path, caplog):
    kept, whole, _ = undisturbed
    assert killed(tmp_path, kept, event=300)
    shutil.rmtree(tmp_path / "checkpoint")
    with caplog.at_level(logging.WARNING):
        carry_out(tmp_path, kept)
    assert "holds no checkpoint: the run begins anew" in caplog.text
    require_equal(tmp_path, whole)


def test_another_process_overwrites_no_round_that_is_still_wanted(tmp_path):
    """Rounds in memory are numbered in their files; a later process must not start over."""
    layout = Layout.of_tensors({"w": torch.zeros(3)})
    empty = History(layout, torch.zeros(3), torch.zeros(3))

    def course(value):
        sent = Updates((0, 1), torch.full((2, 3), value), torch.tensor([1, 1]))
        return FederationState(replace(empty, rounds=(Round(1, sent, 2),)), frozenset({0, 1}))

    Checkpoint(tmp_path).save(RunState(SeedReferences(0), TRAINING, course(1.0), course(1.0)))
    for value in (2.0, 3.0):  # two more processes
        checkpoint = Checkpoint(tmp_path)
        at = checkpoint.load().state(empty)
        checkpoint.save(replace(at, stage=Stage("a"), current=course(value)))
        again = Checkpoint(tmp_path).load().state(empty)
        assert (again.shared.history[0].updates.deltas == 1).all()
        assert (again.current.history[0].updates.deltas == value).all()
    assert len(list((tmp_path / "checkpoint" / "rounds").iterdir())) == 2


def test_what_a_checkpoint_speaks_of_is_on_the_disk_before_it(tmp_path, monkeypatch):
    """After a power cut a file may be shorter, or have no name, unless it was waited for."""
    layout = Layout.of_tensors({"w": torch.zeros(3)})
    state = FederationState(History(layout, torch.zeros(3), torch.zeros(3)), frozenset({0}))
    (tmp_path / "models").mkdir()
    (tmp_path / "metrics.csv").touch()
    done = []
    disk = files.Disk(sync=lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    real, write = files.settle, sealed_files.write
    monkeypatch.setattr(files, "settle", lambda paths: real(paths, disk))
    monkeypatch.setattr(sealed_files, "write", lambda *a: done.append("written") or write(*a))
    Checkpoint(tmp_path).save(RunState(SeedReferences(0), TRAINING, state, state))
    assert done == [*map(str, [tmp_path / "metrics.csv", tmp_path / "models", tmp_path]), "written"]


def test_what_a_policy_and_a_request_left_in_a_history_goes_on(tmp_path):
    layout = Layout.of_tensors({"w": torch.zeros(3)})
    empty = History(layout, torch.zeros(3), torch.zeros(3))
    sums = {4: torch.arange(6.0, dtype=torch.float64).view(2, 3)}
    history = replace(empty, window=Window(3, (0.5, 1 / 3)), forgot=2, statistics=sums)
    course = FederationState(history, frozenset({4}), round=5, request=1)
    Checkpoint(tmp_path).save(RunState(SeedReferences(0), Stage("a"), course, course))
    found = Checkpoint(tmp_path).load().state(empty).current
    assert (found.history.window, found.history.forgot) == (history.window, 2)
    assert torch.equal(found.history.statistics[4], sums[4])
    assert (found.present, found.round, found.request) == ({4}, 5, 1)
