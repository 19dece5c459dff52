"""Owners' names stand where people read, and in no message."""

import io
import json
from dataclasses import replace

import pytest
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from rich.console import Console

from fedunlearn.data import LabelNoise, Natural
from fedunlearn.experiment import run
from fedunlearn.flower import InProcessGrid
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.results import load, load_answers, printed_summary, read_manifest, report
from fedunlearn.results.certificates import read
from fedunlearn.unlearning import Request, Training
from tests.support.record_kinds import NAMES, Synthetic
from tests.support.small_experiment import SMALL

SOURCE = Synthetic("sensor")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run whose clients have names, and the bytes of all messages that it sent."""
    folder, sent = tmp_path_factory.mktemp("run"), []
    experiment = replace(
        SMALL,
        dataset=SOURCE,
        partition=Natural().of(SOURCE),
        planting=LabelNoise(),
        model=Mlp((8,)),
        training=Training(rounds=6, work=LocalWork(epochs=8, batch_size=8, optimizer=Sgd(0.1))),
        requests=(Request(frozenset({1, 2}), 6),),
    )
    with pytest.MonkeyPatch.context() as patch:
        push, pull = InProcessGrid.push_messages, InProcessGrid._pulled

        def pushing(grid, messages):
            batch = list(messages)
            sent.extend(batch)
            return push(grid, batch)

        def pulling(grid, *asked):
            replies = list(pull(grid, *asked))
            sent.extend(replies)
            return replies

        patch.setattr(InProcessGrid, "push_messages", pushing)
        patch.setattr(InProcessGrid, "_pulled", pulling)
        summary = run(experiment, (0,), folder, {"a": 1}, Console(file=io.StringIO()))
    return folder, summary, sent


def test_no_message_carries_a_name(done):
    *_, sent = done
    assert len(sent) > 50
    for message in sent:
        told = repr(message.metadata).encode()
        if message.has_content():
            told += b"".join(
                part.deflate() for part in get_all_nested_objects(message.content).values()
            )
        assert not any(name.encode() in told for name in NAMES)
    content = get_all_nested_objects(sent[-1].content).values()
    assert sum(len(part.deflate()) for part in content) > 500, "messages are looked through"


@pytest.mark.slow
def test_people_read_names_beside_numbers(done):
    folder, summary, _ = done
    assert read_manifest(folder)["owners"] == dict(zip("0123", NAMES, strict=True))
    found = load(folder)
    assert found.owners == dict(enumerate(NAMES))
    told = "clients 1 (Bob) and 2 (Cleo)"
    assert printed_summary(summary, found.owners).title.startswith(f"C{told[1:]} left")
    page, *_ = report.write(folder, report.Declared())
    assert told in page.read_text()
    assert told in (folder / "report.md").read_text()
    for path in (folder / "certificates").glob("*.json"):
        assert json.loads(path.read_text())["owners"] == ["Bob", "Cleo"]
        assert told in path.with_suffix(".md").read_text()
    assert (folder / "certificates").is_dir()
    assert len(load_answers(folder))
    assert read(folder)
