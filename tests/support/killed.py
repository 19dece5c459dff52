"""A small run in a process of its own that is killed at a given moment, without any warning."""

import io
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import replace

from rich.console import Console

from fedunlearn.data import Backdoor, Dirichlet, Everything, NoPlanting
from fedunlearn.evaluators import BackdoorProbe, Forgetting, Utility
from fedunlearn.experiment import Evaluation, Experiment, run
from fedunlearn.flower import Local
from fedunlearn.history import InMemory, OnDisk
from fedunlearn.local import LocalWork, Sgd
from fedunlearn.models import Mlp
from fedunlearn.unlearning import InBatches, Plain, Poisson, Request, Training, batched
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.none import Nothing
from strategies.retrain import Retrain
from tests.support.world import FewDigits

WAVES = Experiment(
    dataset=FewDigits(),
    partition=Dirichlet(clients=5),
    planting=Backdoor(),
    model=Mlp((8,)),
    training=Training(
        rounds=7, cohort=0.8, work=LocalWork(epochs=2, optimizer=Sgd(0.3))
    ),  # enough for a retrained model that works, so that there are certificates
    requests=(Request(frozenset({1}), 4), Request(frozenset({3}), 6)),
    strategies={"fedaccum": FedAccum(), "federaser": FedEraser(interval=2)},
    reference=Retrain(),
    evaluation=Evaluation((Utility(), Forgetting(), BackdoorProbe())),
    recovery=Plain(rounds=2),
    engine=Local(mode="workers", workers=1),
    checkpoint=0,
)
KEPT = {
    "memory": InMemory(),
    "float32": OnDisk(),
    "int8": OnDisk(encoding="int8"),
}
STREAM = replace(
    WAVES,
    partition=Dirichlet(clients=8, alpha=5.0),
    planting=NoPlanting(),
    requests=batched(Poisson(rate=0.8, most=5, seed=2).drawn(8, 7), InBatches(2), Everything(), 7),
    strategies={"none": Nothing(), "fedaccum": FedAccum()},
)
CASES = {name: replace(WAVES, store=store) for name, store in KEPT.items()} | {"stream": STREAM}
SEEDS = (0, 1)
EVENTS = ("open", "os.rename", "os.remove", "os.truncate", "os.rmdir")
"""What Python tells about a process's dealings with files."""


def carry_out(folder, kept, *, resume=True):
    """Run, or go on, to the end."""
    console = Console(file=io.StringIO())
    return run(CASES[kept], SEEDS, folder, {"kept": kept}, console, resume=resume)


def attempt(folder, kept, event, seconds):
    """Go on until the file event number ``event`` in ``folder``, or for so many seconds."""
    left = [event]

    def count(name, args):
        if name in EVENTS and args and str(args[0]).startswith(str(folder)):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if event:
        sys.addaudithook(count)
    if seconds:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    carry_out(folder, kept)


def killed(folder, kept, event=0, seconds=0.0):
    """Attempt in a process of its own; say whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.killed"])
    process = context.Process(target=attempt, args=(folder, kept, event, seconds))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0
