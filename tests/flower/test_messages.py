"""A message may describe work of kinds that the client knows, and do nothing else to it."""

import json
import sys
from dataclasses import dataclass, field, replace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedunlearn.checks import Refused
from fedunlearn.flower import InProcessGrid, build_client_app, handshake, pack
from fedunlearn.flower import messages as wire
from fedunlearn.flower.messages import KINDS, client_kinds, decode, encode, kinds_in
from fedunlearn.local import Adam, Ball, LocalWork, Schedule, Sgd, UnlearningCrossEntropy
from strategies.pga import PGA
from tests.support.world import HalfSquare, World

WORK = LocalWork(
    3, 7, Schedule(warmup=2), 1.5, Adam(0.1), UnlearningCrossEntropy(), bound=Ball(1.0, 2.0)
)

HOSTILE = {
    "a program": '{"class": "subprocess:Popen", "args": "touch hacked"}',
    "a function": '{"class": "os:system", "command": "touch hacked"}',
    "a module": '{"class": "antigravity:fly"}',
    "a dotted path": '{"class": "strategies.pga.PGA"}',
    "a known kind by its path": '{"class": "fedunlearn.local.optimizers:Sgd", "lr": 0.1}',
    "a builtin": '{"class": "dict"}',
    "within work": '{"class": "LocalWork", "objective": {"class": "antigravity:fly"}}',
    "a path that is a list": '{"class": ["os", "system"]}',
    "no class": "{}",
    "a class without a name": '{"class": null}',
    "a strategy": '{"class": "PGA"}',
    "fields that there are not": '{"class": "Sgd", "__class__": "LocalWork"}',
    "a private field": '{"class": "Sgd", "_lr": 1}',
    "no JSON": "import antigravity",
    "depth": '{"class":' * 100_000,
}


def test_our_kinds_survive_and_name_no_module():
    assert decode(encode(WORK)) == WORK
    assert "fedunlearn" not in encode(WORK)
    named = {part["class"] for part in json.loads(encode(WORK)).values() if isinstance(part, dict)}
    assert named == {"Adam", "UnlearningCrossEntropy", "Ball", "Schedule"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_is_an_error_and_imports_nothing(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with pytest.raises(ValueError):  # noqa: PT011 — each is worded by whoever finds it
        decode(text)
    assert set(sys.modules) == before
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_ones_own_is_known_where_the_configuration_holds_it(monkeypatch):
    monkeypatch.setattr(wire, "_sent", {})
    text = encode(replace(WORK, objective=HalfSquare()))
    monkeypatch.setattr(wire, "_sent", {})  # as in another process
    with pytest.raises(ValueError, match="HalfSquare is no kind of work that this client knows"):
        decode(text, client_kinds())
    own = kinds_in(PGA(work=replace(WORK, objective=HalfSquare())))
    assert decode(text, client_kinds(own)).objective == HalfSquare()


def test_what_this_process_has_sent_its_clients_know(monkeypatch):
    monkeypatch.setattr(wire, "_sent", {})
    text = encode(replace(WORK, objective=HalfSquare()))
    assert decode(text, client_kinds()).objective == HalfSquare()


def test_kinds_are_found_wherever_a_configuration_holds_them():
    @dataclass(frozen=True)
    class Nested:
        works: tuple = (LocalWork(optimizer=Adam()),)
        table: dict = field(default_factory=lambda: {"a": [Ball(1, 1)]})

    found = kinds_in(Nested(), 3, "text", Sgd)
    assert {Nested, LocalWork, Adam, Ball} <= found
    assert Sgd not in found  # a class, and no value
    assert kinds_in(3, None) == frozenset()


def test_two_classes_of_one_name_are_refused():
    @dataclass(frozen=True)
    class Sgd(type(WORK.optimizer)):  # not ours
        lr: float = 1.0

    with pytest.raises(Refused, match="Two classes that clients may be sent are called Sgd"):
        encode(replace(WORK, optimizer=Sgd()))
    with pytest.raises(Refused, match="rename yours"):
        decode(encode(WORK), KINDS | {Sgd})


@pytest.mark.parametrize("text", [HOSTILE["a program"], encode(Sgd())], ids=["hostile", "no work"])
def test_a_client_answers_with_an_error_and_goes_on(text):
    world = World()
    grid = InProcessGrid(build_client_app(world.scenario), 4, workers=1)
    try:
        node = handshake(grid, 4).nodes[0]
        weights = world.start.history.initial

        def answer(work):
            config = ConfigRecord(
                {"work": work, "round": 1, "seed": 0, "stream": 0, "held": [1, 0, 0]}
            )
            content = RecordDict({"arrays": pack(weights), "config": config})
            (reply,) = grid.send_and_receive([Message(content, node, "train")])
            return reply

        assert "ValueError" in answer(text).error.reason
        assert not answer(encode(world.training.work)).has_error()
    finally:
        grid.close()
