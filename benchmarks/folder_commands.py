"""Every command that reads a folder, in this process, and what it says and writes."""

import contextlib
import functools
import hashlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "report": ("report", "{folder}"),
    "plot": ("plot", "{folder}"),
    "cost": ("cost", "{folder}", "devices=phones", "devices.draws=5"),
    "own cost": ("cost", "{folder}"),
    "verify": ("verify", "{folder}"),
    "attack": ("attack", "{folder}", "--shadows", "4"),
    "score": ("score", "{folder}", "--replicates", "10", "--records", "20"),
    "suspects": ("suspects", "{folder}"),
    "run=": ("compare", "run={folder}"),
    "run= -m": ("withdraw", "run={folder}"),
    "cache ls": ("cache", "ls", "{folder}"),
    "cache verify": ("cache", "verify", "{folder}"),
    "cache rm": ("cache", "rm", "{folder}", "--all"),
}
"""The command line of each; a folder that is no run's is not given to those that want one."""

RUN = ("report", "plot", "cost", "own cost", "verify", "attack", "score", "suspects", "run=")

SHARES = {
    "run=": 0.05,
    "run= -m": 0.03,
    "attack": 0.1,
    "score": 0.1,
    "suspects": 0.1,
    "report": 0.5,
}
"""How often a command is tried next to those that take no time before they read."""

PASSING = (".lock", ".log", "multirun.yaml", "derived.json", "index.csv")
"""How files end that hold processes or times, or list what is compared by itself, always anew."""

SUITED: Mapping[str, tuple[str, ...]] = {
    "finished": RUN,
    "open": RUN,
    "stopped": ("run=", "report", "plot", "cost", "verify", "attack"),
    "retrained": ("report", "plot", "cost", "verify"),
    "multirun": ("report", "plot", "cost", "verify", "run= -m"),
    "stopped-multirun": ("report", "plot", "run= -m"),
    "cache": ("cache ls", "cache verify", "cache rm"),
}
"""Which commands each of the folders is given to."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    said: str
    """On standard error."""
    trace: str
    """Of an exception that nobody made a sentence of; empty for none."""
    content: str
    """The SHA-256 of what it printed and of the files that it wrote."""
    opened: frozenset[str]
    """The files of the folder that it opened, by their names in it."""


_OPENED: set[str] = set()
"""The files that were opened since it was emptied last."""


@functools.cache
def _listening() -> None:
    """Note every file that this process opens, from now on."""

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(details[0], str):
            _OPENED.add(details[0])

    sys.addaudithook(note)


class Reached(BaseException):
    """A run got to where it would train; holds the SHA-256 of the state from which it would."""


def carried_out(name: str, folder: Path, whole: Path) -> Ended:
    """Carry out the command ``name`` on ``folder`` as the command line would.

    What it writes counts where that is not what stands in the ``whole`` folder already.
    """
    _listening()
    before, intact = _files(folder), _files(whole)
    out, said, trace, code = io.StringIO(), io.StringIO(), "", 0
    arguments = [word.format(folder=folder) for word in COMMANDS[name]]
    here = Path.cwd()
    _OPENED.clear()
    with _forged(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            _main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Reached as state:
            out.write(str(state))
        except BaseException:
            code, trace = 70, traceback.format_exc()
        finally:
            os.chdir(here)
            _fresh()
    text = said.getvalue()
    if "Traceback" in text or "Error executing job" in text:
        trace = trace or text
    opened = {os.path.relpath(path, folder) for path in _OPENED}
    after = _files(folder)
    changed = {
        place: sha
        for place, sha in after.items()
        if sha not in (before.get(place), intact.get(place))
    }
    left = sorted(after) if name == "cache rm" else []
    content = hashlib.sha256(repr((out.getvalue(), sorted(changed.items()), left)).encode())
    names = frozenset(name for name in opened if name in before)
    return Ended(code, text, trace, content.hexdigest(), names)


def _main(arguments: list[str]) -> None:
    with mock.patch.object(sys, "argv", ["fedunlearn", *arguments]):
        import_module("fedunlearn.simulations.__main__").main()


def _fresh() -> None:
    """Forget what Hydra keeps of a job."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    for handler in list(logging.root.handlers):
        logging.root.removeHandler(handler)


@contextlib.contextmanager
def _forged() -> Iterator[None]:
    """Leave out what takes long and reads nothing of a folder: pictures, and training."""
    from matplotlib.figure import Figure

    from fedunlearn.experiment.seed_run import SeedRun
    from fedunlearn.results.report import writing
    from fedunlearn.simulations import cost
    from fedunlearn.simulations import report as reporting

    devices = _quick_devices()

    def savefig(self: Figure, place: Any, **options: Any) -> None:
        drawn = sorted(
            repr(line.get_xydata().tolist()) for axes in self.axes for line in axes.lines
        )
        words = sorted(text.get_text() for text in self.findobj(_is_text))
        place.write(repr((drawn, words)).encode())

    def untrained(self: SeedRun, state: Any) -> Any:
        raise Reached(_hash(state))

    with (
        mock.patch.object(Figure, "savefig", savefig),
        mock.patch.object(writing, "export", return_value=[]),
        mock.patch.object(reporting, "chosen", devices),
        mock.patch.object(cost, "chosen", devices),
        mock.patch.object(SeedRun, "_next", untrained),
        mock.patch("fedunlearn.experiment.run_folder.RunFolder.manifest"),
        mock.patch.dict(os.environ, {"HYDRA_FULL_ERROR": ""}),
    ):
        yield


@functools.cache
def _quick_devices() -> Callable[[list[str]], Any]:
    """Return what composes devices, each once: that has nothing to do with any folder."""
    from fedunlearn.simulations.cost import chosen

    composed = functools.cache(lambda overrides: chosen(list(overrides)))
    return lambda overrides: composed(tuple(overrides))


def _is_text(artist: object) -> bool:
    return hasattr(artist, "get_text")


def _hash(state: Any) -> str:
    """Return the SHA-256 of all numbers in a run's state."""
    digest = hashlib.sha256()
    for part in (state.shared, state.current):
        digest.update(part.history.final.numpy().tobytes())
        digest.update(repr((sorted(part.present), part.round, part.request)).encode())
        for kept in part.history.rounds:
            digest.update(repr(tuple(kept.updates.clients)).encode())
            digest.update(kept.updates.deltas.numpy().tobytes())
            if kept.broadcast is not None:
                digest.update(kept.broadcast.numpy().tobytes())
    for key, weights in sorted(state.references.models.items()):
        digest.update(repr(key).encode() + weights.numpy().tobytes())
    plain = (state.stage, state.purging, state.summary, state.notes, state.sizes, state.checksums)
    digest.update(repr(plain).encode())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file; Hydra's own and locks hold the time, and processes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        passing = ".hydra" in path.parts or name.endswith(PASSING)
        if path.is_file() and not passing:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
