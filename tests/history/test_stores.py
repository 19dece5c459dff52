"""Rounds on disk in whole runs: the same numbers, fewer bytes, and nothing left of who left."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.data import Dirichlet, NoPlanting
from fedunlearn.evaluators import Utility
from fedunlearn.experiment import Evaluation, Experiment, run
from fedunlearn.history import InMemory, Needs, OnDisk, encodings, open_rounds, write_behind
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Plain, Request, Training
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.retrain import Retrain
from tests.support.slow import slowly
from tests.support.world import FewDigits

WAVES = Experiment(
    dataset=FewDigits(),
    partition=Dirichlet(clients=5),
    planting=NoPlanting(),
    model=Mlp((8,)),
    training=Training(rounds=6, work=LocalWork(epochs=1)),
    requests=(Request(frozenset({1}), 3), Request(frozenset({3}), 5)),
    strategies={"fedaccum": FedAccum(), "federaser": FedEraser(interval=2)},
    reference=Retrain(),
    evaluation=Evaluation((Utility(),)),
    recovery=Plain(rounds=1),
)


def carried_out(experiment, folder):
    console = Console(file=io.StringIO())
    return run(experiment, [0], folder, {}, console)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    return folder, carried_out(replace(WAVES, store=InMemory()), folder)


def test_a_store_on_disk_changes_no_number(in_memory, tmp_path):
    summary = carried_out(replace(WAVES, store=OnDisk()), tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == (in_memory[0] / "metrics.csv").read_bytes()
    pd.testing.assert_frame_equal(
        summary.drop(columns="seconds"), in_memory[1].drop(columns="seconds")
    )
    assert not (in_memory[0] / "history").exists()


def test_up_to_a_limit_rounds_stay_in_memory(in_memory, tmp_path):
    size = 64 * 8 + 8 + 8 * 10 + 10
    assert WAVES.needs == Needs(updates=True, remaining=True, replaces=True)
    assert WAVES.stored_bytes(size) == 6 * 5 * size * 4
    carried_out(replace(WAVES, store=OnDisk(limit=WAVES.stored_bytes(size))), tmp_path / "below")
    assert not (tmp_path / "below/history").exists()
    carried_out(
        replace(WAVES, store=OnDisk(limit=WAVES.stored_bytes(size) - 1)), tmp_path / "above"
    )
    assert (tmp_path / "above/history/seed0/training").is_dir()


@pytest.mark.parametrize("name", ["int8", *slowly("float32", "bfloat16", "float16", "topk-0.1")])
def test_nothing_of_the_leavers_is_left_on_disk(name, in_memory, tmp_path, monkeypatch):
    """Their updates are looked for as raw bytes, in the encoding in which they were written."""
    sent, real, encoding = {}, write_behind.Recorder.record, encodings.of(name)

    def record(self, done):
        parts = encoding.encode(done.updates.deltas)
        for row, client in enumerate(done.updates.clients):
            largest = max((part[row].reshape(-1) for part in parts.values()), key=torch.numel)
            written = largest.view(torch.uint8).numpy().tobytes()
            # a neuron that none of its records reaches is all zeros, as others' are
            sent.setdefault(client, []).append(written.lstrip(b"\0"))
        return real(self, done)

    monkeypatch.setattr(write_behind.Recorder, "record", record)
    summary = carried_out(replace(WAVES, store=OnDisk(encoding=name)), tmp_path)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]

    def found(client):
        return sum(any(update[:200] in file for file in files) for update in sent[client])

    assert (found(1), found(3)) == (0, 0)
    assert min(found(client) for client in (0, 2, 4)) >= 4
    for stored in open_rounds(tmp_path / "history/seed0/training"):
        assert set(stored.clients) == {0, 2, 4}
    assert not (tmp_path / "history/seed0/fedaccum").exists()  # whose branch is over

    d = 64 * 8 + 8 + 8 * 10 + 10
    first = summary[(summary.strategy == "fedaccum") & (summary.request == 1)]
    assert list(first.store_bytes) == [4 * d + 3 * encoding.nbytes(5, d)]
    gap = (summary.test_accuracy - in_memory[1].test_accuracy).abs()
    assert gap[summary.strategy == "federaser"].max() < 0.1
    assert (gap[summary.strategy == "retrain"] == 0).all()
    assert np.isfinite(summary.test_loss).all()


def test_an_unknown_encoding_is_refused():
    with pytest.raises(Refused, match="encoding=float8 does not exist"):
        OnDisk(encoding="float8")
