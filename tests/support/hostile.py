"""Clients that send what must not be used, and what a sentence says of it.

`Hostile` spoils a client's replies in its app, `Meddling` on their way; a file says how, so that
processes of Ray's read it as well.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedunlearn.data import Backdoor, Digits, Dirichlet, Scenario
from fedunlearn.flower import Ray
from fedunlearn.flower.engines import local as local_engine
from fedunlearn.flower.engines import ray as ray_engine
from fedunlearn.flower.scoped_grid import Present
from fedunlearn.local import CrossEntropy
from fedunlearn.models import Mlp

LIAR = 2

SCENARIO = Scenario(Digits(), Dirichlet(clients=4), Backdoor(), Mlp(), (1,), seed=5)
"""A federation of four, `LIAR` among them."""


def in_every_engine(monkeypatch, spoiled):
    """Let engines build the apps of clients as ``spoiled`` makes them of honest ones."""
    for engine in (local_engine, ray_engine):
        real = engine.build_client_app
        monkeypatch.setattr(
            engine, "build_client_app", lambda *args, real=real: spoiled(real(*args))
        )


def times(engine):
    """Return the seconds that clients have, and those after which a late one answers.

    A process of Ray's may be at a late client's work when it gets another's message.
    """
    return (5.0, 6.0) if isinstance(engine, Ray) else (0.5, 1.0)


def array(value):
    """Put a value everywhere into the first array."""

    def spoil(held, metrics):
        name = next(iter(held))
        held[name] = np.full_like(held[name], value)

    return spoil


def shaped(change):
    def spoil(held, metrics):
        name = next(iter(held))
        held[name] = change(held[name])

    return spoil


def metric(name, value):
    def spoil(held, metrics):
        metrics[name] = value

    return spoil


def no_metric(held, metrics):
    del metrics["num-examples"]


def anonymous(held, metrics):
    metrics.pop("partition-id", None)


def no_array(held, metrics):
    del held[next(iter(held))]


def one_more(held, metrics):
    held["backdoor"] = np.zeros(3, np.float32)


SPOILED = {
    "nan": (array(np.nan), r"the array \S+ holds numbers that are not finite"),
    "inf": (array(np.inf), r"the array \S+ holds numbers that are not finite"),
    "1e30": (array(1e30), r"the array \S+ is longer than 1e\+18"),
    "wrong shape": (shaped(lambda a: a.ravel()[:-1]), r"the array \S+ has shape \(\d+,\), not \("),
    "one axis more": (shaped(lambda a: a[None]), r"the array \S+ has shape \(1, .*\), not \("),
    "float16": (shaped(lambda a: a.astype(np.float16)), r"the array \S+ is float16, not float"),
    "integers": (shaped(lambda a: a.astype(np.int32)), r"the array \S+ is int32, not float"),
    "missing array": (no_array, r"the array \S+ is missing"),
    "another array": (one_more, r"nobody asked for the array backdoor"),
    "no count": (no_metric, r"its metrics hold no num-examples"),
    **{
        f"num-examples {value}": (
            metric("num-examples", value),
            rf"its num-examples is {value}, no whole number from 1 to 1,000,000,000",
        )
        for value in (0, -5, math.nan, math.inf, 10**15, 2.5)
    },
    "num-examples a list": (metric("num-examples", [3]), r"its num-examples is \[3\], not one"),
    "seconds nan": (metric("seconds", math.nan), r"its seconds are nan"),
    "seconds negative": (metric("seconds", -1.0), r"its seconds are -1"),
}


def summed(change):
    """Change sums [f + 1, f + 1 + classes], given as those of x x^T and those of x y^T."""

    def spoil(held, metrics):
        total = held["sums"]
        change(total[:, : len(total)], total[:, len(total) :])

    return spoil


def lopsided(inner, outer):
    inner[-1, 0] += 1e-3 * inner.max()


def negative(inner, outer):
    inner[:-1, :-1] -= 2 * inner.max() * np.eye(len(inner) - 1)


def one_record_more(inner, outer):
    inner[-1, -1] += 1
    outer[-1, 0] += 1


def halved(inner, outer):
    outer[-1, :2] += 0.5, -0.5


def one_class_negative(inner, outer):
    outer[-1, 0] = -1


def one_class_more(inner, outer):
    outer[0, 0] += 1e-3 * inner.max()


def impossible_classes(inner, outer):
    outer[0, :2] += 10 * inner.max(), -10 * inner.max()


def a_constant(inner, outer):
    inner[:], outer[:] = 3.0, 3.0


NO_SUMS = {
    "not symmetric": (summed(lopsided), r"x x\^T is not symmetric"),
    "negative": (summed(negative), r"they are not positive semidefinite"),
    "one record more": (summed(one_record_more), r"they count \d+ records, and num-examples is"),
    "half a record": (summed(halved), r"its counts of classes are no whole numbers from 0"),
    "minus a record": (summed(one_class_negative), r"its counts of classes are no whole numbers"),
    "a class too much": (summed(one_class_more), r"its classes do not sum to all of its records"),
    "no such classes": (summed(impossible_classes), r"they are not positive semidefinite"),
    "a constant": (summed(a_constant), r"they count 3 records, and num-examples is"),
}
"""What sums over records cannot be, and what is said of it."""


class Hostile(ClientApp):
    """An app whose client `LIAR` does what a file says, when it is sent messages of a kind."""

    def __init__(self, app, kind, case):
        super().__init__()
        self.app, self.kind, self.case = app, kind, case

    def __call__(self, message, context):
        reply = self.app(message, context)
        case = Path(self.case).read_text()
        asked = message.metadata.message_type == self.kind
        if not case or not asked or context.node_config["partition-id"] != LIAR:
            return reply
        if case.startswith("late "):
            time.sleep(float(case[5:]))
            return reply
        if case == "raises":
            raise OSError("disk on fire")
        if case == "SystemExit":
            raise SystemExit(3)
        if case == "id none":
            reply.content = spoiled(reply.content, anonymous)
        elif case.startswith("id "):
            claim = metric("partition-id", eval(case[3:], {"nan": math.nan}))
            reply.content = spoiled(reply.content, claim)
        elif case == "empty":
            reply.content = RecordDict()
        elif case == "unreadable":
            held = next(iter(reply.content.array_records.values()))
            name = next(iter(held))
            honest = held[name]
            junk = b"\x93NUMPY junk" + bytes(64)
            held[name] = Array(honest.dtype, tuple(honest.shape), "numpy.ndarray", junk)
        elif case == "another shape than it says":
            held = next(iter(reply.content.array_records.values()))
            name = next(iter(held))
            small = Array(np.zeros(2, held[name].dtype))
            held[name] = Array(small.dtype, tuple(held[name].shape), small.stype, small.data)
        else:
            reply.content = spoiled(reply.content, (SPOILED | NO_SUMS)[case][0])
        return reply


def spoiled(content, spoil):
    """Return the content of a reply after ``spoil`` has changed its arrays and its metrics."""
    changed = RecordDict()
    held = {n: np.array(a.numpy()) for r in content.array_records.values() for n, a in r.items()}
    metrics = dict(content.metric_records["metrics"])
    spoil(held, metrics)
    if content.array_records:
        changed["arrays"] = ArrayRecord({name: Array(each) for name, each in held.items()})
    changed["metrics"] = MetricRecord(metrics)
    return changed


WRONG = {name: pattern for name, (_, pattern) in SPOILED.items()} | {
    "empty": r"it holds 0 MetricRecords, not one",
    "unreadable": r"the array \S+ cannot be read",
    "another shape than it says": r"the array \S+ has shape \(2,\), not \(",
    "raises": r"failed: [\s\S]*disk on fire",
}
WRONG = {  # all but an error are replies that cannot be used
    name: pattern if name == "raises" else rf"sent a reply that cannot be used: {pattern}"
    for name, pattern in WRONG.items()
}


@dataclass(frozen=True)
class Quitting:
    """A loss that ends the process in which one client computes it, if the file says so."""

    records: int
    case: str

    def __call__(self, network, weights, images, labels, sent):
        if len(labels) == self.records and Path(self.case).read_text() == "SystemExit":
            raise SystemExit(3)
        return CrossEntropy()(network, weights, images, labels, sent)


class Meddling(Present):
    """A grid on which the answer to a message of a kind comes twice, or from another node."""

    def __init__(self, grid, kind, case, liar, other):
        super().__init__(grid, frozenset(grid.get_node_ids()))
        self.kind, self.case, self.liar, self.other = kind, Path(case), liar, other

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        answers = list(super().send_and_receive(messages, timeout=timeout))
        if {message.metadata.message_type for message in messages} != {self.kind}:
            return answers
        own = [answer for answer in answers if answer.metadata.src_node_id == self.liar]
        if self.case.read_text() == "twice":
            return answers + own
        if self.case.read_text() == "in another's name":
            for answer in own:
                answer.metadata.__dict__["_src_node_id"] = self.other
        return answers
