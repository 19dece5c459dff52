"""A hundred command lines that are mistyped, contradictory or stopped, by kind."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SMALL = "model=mlp training.rounds=2 training.work.epochs=1 references=1 figures=false"

LONG = "model=mlp training.rounds=5000 training.work.epochs=1 figures=false hydra.run.dir=run"


@dataclass(frozen=True)
class Stop:
    """When a command is stopped, and how."""

    number: signal.Signals
    file: str
    """The file whose first line it waits for; empty: three tenths of a second after the start."""


@dataclass(frozen=True)
class Line:
    """One command line."""

    kind: str
    words: str
    """As a shell reads it."""
    prepare: Callable[[Path], object] = lambda folder: None
    """Puts into the empty folder what the command finds there."""
    stop: Stop | None = None
    unread: bool = False
    """Whether nobody reads what it prints."""
    data: bool = False
    """Whether data must be read to see what is wrong."""


def wrote(name: str, text: str) -> Callable[[Path], object]:
    """Return what writes one file of the folder."""

    def write(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    return write


def images(folder: Path) -> None:
    """Write an image folder of one class whose only file is no image."""
    for split in ("train", "test"):
        wrote(f"photos/{split}/cat/1.png", "no image")(folder)


WORDS = {
    "no such command": (
        *("wthdraw", "compre strategies=all", "Withdraw", "run", "--dataset=mnist", "train"),
        *("strategy=federaser", "verfy done", "expalin lr"),
    ),
    "no KEY=VALUE": (
        *("withdraw foo", "withdraw =3", "withdraw --strategy federaser", "withdraw seed 3"),
        *("withdraw dataset:mnist", "withdraw 'seed=[1,'", "compare seeds=[0,1 strategies=all"),
    ),
    "no such key": (
        *("withdraw lr=0.1", "withdraw alpha=3", "withdraw rounds=5", "withdraw datset=mnist"),
        *("withdraw training.round=5", "withdraw training.work.epoch=1", "withdraw clients=8"),
        *("withdraw strategy.intervall=2", "withdraw epochs=3", "withdraw model.hiden=[10]"),
        "compare evaluators.evry=2",
    ),
    "no such choice": (
        *("withdraw dataset=mnsit", "withdraw strategy=federazer", "withdraw model=mpl"),
        *("withdraw partition=dirichlett", "compare strategies=[none,retrian]"),
        *("withdraw experiment=mnist", "withdraw dataset=3", "explain federazer"),
        "withdraw dataset=./photos",
    ),
    "value": (
        *("withdraw training.rounds=0", "withdraw training.rounds=abc", "withdraw seed=-1"),
        *(
            "withdraw training.work.optimizer.lr=-0.1",
            "withdraw training.cohort=5",
            "withdraw seed=",
        ),
        *(
            "withdraw partition=dirichlet partition.alpha=0",
            "withdraw heldout=2",
            "withdraw proxy=yes",
        ),
        *("withdraw engine.workers=0", "withdraw engine.mode=fast", "withdraw figures=maybe"),
        *("withdraw strategy.interval=1.5", "compare references=0", "withdraw minimise=[loss]"),
        *("withdraw training.work=3", "withdraw history.budget=lots", "withdraw checkpoint=-1"),
        *("compare 'strategies=[{puf:{eta:x}}]'", "withdraw model.hidden=abc"),
    ),
    "lists": (
        *("compare strategies=none,retrain", "compare seeds=0,1,2", "compare seeds=3"),
        *("withdraw withdrawal.clients=0,1", "withdraw seed=0,1", "compare strategies=federaser"),
        *("withdraw withdrawal.clients=[0,0]", "withdraw strategy=pga,puf"),
    ),
    "not heeded": (
        *("withdraw 'strategies=[pga]'", "withdraw 'seeds=[0,1]'", "compare seed=3"),
        *("compare strategy=pga", "doctor 'seeds=[1]'", "estimate minimise=[rounds]"),
    ),
    "contradictory": (
        *("withdraw withdrawal.clients=[9]", "withdraw withdrawal.after=99"),
        *("withdraw withdrawal.clients=[0,1,2,3,4]", "withdraw partition.alpha=0.3"),
        *("withdraw history=none", "withdraw strategy=pga withdrawal.cooperates=false"),
        *(
            "withdraw strategy=subtraction proxy=0",
            "withdraw strategy=federaser strategy.interval=30",
        ),
        "doctor -m seed=0,1",
    ),
    "folders": (
        *("plot nowhere", "report nowhere", "cost nowhere", "attack nowhere", "score nowhere"),
        *("verify nowhere", "cache ls nowhere", "withdraw run=nowhere", "plot", "report ."),
        "withdraw signing_key=nowhere.pem",
    ),
}
"""Command lines that need nothing in the folder where they are given."""

FOUND = (
    Line("folders", "withdraw hydra.run.dir=file/run", wrote("file", "no folder")),
    Line("folders", "withdraw hydra.run.dir=/proc/run"),
    Line("folders", "plot photos", images),
    Line("own files", "withdraw strategy=mine", wrote("conf/strategy/mine.yaml", "a: [")),
    Line("own files", "withdraw strategy=mine", wrote("conf/strategy/mine.yaml", "_target_: my.M")),
    Line("own files", "withdraw", wrote("strategies/__init__.py", "")),
    Line("data", "withdraw dataset=imagefolder dataset.root=nowhere", data=True),
    Line("data", "withdraw dataset=imagefolder dataset.root=photos", images, data=True),
    Line("data", "withdraw partition.clients=5000", data=True),
    Line("data", "withdraw model=lenet5", data=True),
    Line("data", "withdraw dataset=mnist dataset.root=nowhere", data=True),
    Line("stopped", "compare", stop=Stop(signal.SIGINT, "")),
    Line("stopped", f"withdraw {LONG}", stop=Stop(signal.SIGINT, "run/metrics.csv"), data=True),
    Line("stopped", f"withdraw {LONG}", stop=Stop(signal.SIGTERM, "run/metrics.csv"), data=True),
    Line("unread", "--help", unread=True),
    Line("unread", "compare --cfg job", unread=True),
    Line("unread", f"withdraw {SMALL}", unread=True, data=True),
)
"""Those that find something, and those that are stopped or not read."""

LINES = (*(Line(kind, line) for kind, lines in WORDS.items() for line in lines), *FOUND)
