"""`fedunlearn.simulate`: what `fedunlearn compare` does, as one call from Python."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from os import PathLike
from pathlib import Path

from rich.console import Console

from fedunlearn import experiment, results
from fedunlearn.checks import Refused
from fedunlearn.files import require_space

from . import configured, run_config, search_path, settings
from .overrides import key_and_value, overrides_of
from .simulation import Simulation

log = logging.getLogger(__name__)

ELSEWHERE = {
    "hydra": "Say where results go by folder=.",
    "figures": "Draw them by .plot() of what it returns.",
}
"""Keys that have no meaning here, and what to do instead."""


def simulate(
    dataset: str | None = None,
    strategies: str | Sequence[str | Mapping[str, object]] | None = None,
    seeds: int | Sequence[int] | None = None,
    *,
    folder: str | PathLike[str] | None = None,
    verbose: bool = False,
    overrides: Sequence[str] | Mapping[str, object] = (),
    **keys: object,
) -> Simulation:
    """Train a federation, let clients leave, forget them by every strategy, and compare.

    Every key of the configuration can be given, groups by name, and ``__`` or mappings lead into
    them; `fedunlearn explain KEY` says what one means:

    >>> found = fedunlearn.simulate(
    ...     dataset="digits", strategies=["federaser", "subtraction"], seeds=3,
    ...     model="mlp", training__rounds=10, partition={"clients": 5},
    ... )
    >>> print(found)
    >>> found.answers[["strategy", "answer", "p_value"]]
    >>> found.plot()

    Doing nothing and retraining are always among the strategies.

    Args:
        dataset: One of the group ``dataset``; None: as configured, which is ``digits``.
        strategies: Names, or ``{name: {field: value}}`` for a variant, or ``"all"``; None: as
            configured.
        seeds: How many, from 0 on, or a list of them; None: as configured, 0, 1 and 2.
        folder: Where the results go; None: a new one in ``outputs/simulate/`` of the working
            directory, named after the time. A finished run in it is not replaced, unless by
            ``overwrite=True``; ``resume=True`` goes on with one that was stopped.
        verbose: Show what the command line does: progress, and what was chosen.
        overrides: Further keys, as the command line writes them (``["model=mlp"]``), or as a
            mapping (``{"training.rounds": 4}``).
        **keys: Further keys.

    Raises:
        Refused: Before any training, for whatever cannot be; the message says what to do.

    """
    named = _named(dataset, strategies, seeds)
    whole = [*overrides_of(named | keys), *_further(overrides)]
    _require_heeded(whole)
    place = None if folder is None else Path(folder).expanduser().absolute()
    return Simulation(_carried_out(whole, place, verbose=verbose))


def _carried_out(overrides: list[str], folder: Path | None, *, verbose: bool) -> Path:
    """Run what ``overrides`` ask for, and return where the results are."""
    _admit_working_directory()
    for note in search_path.passed_over():
        log.warning(note)
    asked = run_config.read("compare", overrides, Path.cwd())
    built = asked.experiment
    how = {name: bool(asked.cfg[name]) for name in configured.HOW}
    if folder is not None and not any(how.values()):
        experiment.require_free(folder)
    place = folder or _new_folder()
    require_space(place)
    given = configured.telling(overrides)
    content = configured.content(asked.cfg, asked.strategies)
    console = results.wide_enough(results.PersistentConsole()) if verbose else _silent()
    with _torch_threads_kept():
        experiment.run(built, asked.seeds, place, content, console, overrides=given, **how)
    return place


def _named(dataset: object, strategies: object, seeds: object) -> dict[str, object]:
    """Return what is given of the first three arguments, by key."""
    one = isinstance(strategies, str) and strategies != "all"
    named = {
        "dataset": _name("dataset", dataset),
        "strategies": [strategies] if one else strategies,
        "seeds": _seeds(seeds),
    }
    return {key: value for key, value in named.items() if value is not None}


def _name(group: str, value: object) -> str | None:
    """Return a choice of a group, if one is given; raise `Refused` for what is no name."""
    if value is None or isinstance(value, str):
        return value
    choices = ", ".join(settings.known_groups()[group])
    raise Refused(
        f"{group} takes the name of one of its choices, {choices}, not an object of "
        f"{type(value).__name__}. Your own is conf/{group}/NAME.yaml in {search_path.own_folder()}."
    )


def _seeds(seeds: object) -> list[object] | None:
    """Return the seeds: of a number so many, from 0 on."""
    if seeds is None:
        return None
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise Refused(f"seeds={seeds} must be at least 1, or a list of seeds such as [0, 1].")
        return list(range(seeds))
    listed = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    if listed or hasattr(seeds, "tolist"):
        return list(seeds)  # type: ignore[call-overload,no-any-return]
    raise Refused(f"seeds must be how many, or a list of them, not {seeds!r}.")


def _further(overrides: Sequence[str] | Mapping[str, object]) -> list[str]:
    """Return ``overrides`` as the command line writes them."""
    if isinstance(overrides, Mapping):
        return overrides_of(overrides)
    if isinstance(overrides, str):
        raise Refused(f"overrides must be a list or a mapping, not text: [{overrides!r}].")
    for one in overrides:
        if not isinstance(one, str):
            raise Refused(f"Each of overrides is text such as 'model=mlp', not {one!r}.")
    return list(overrides)


def _require_heeded(overrides: Sequence[str]) -> None:
    """Raise `Refused` for a key that nothing here takes notice of."""
    for override in overrides:
        key, _ = key_and_value(override)
        instead = ELSEWHERE.get(key.partition(".")[0].partition("/")[0])
        if instead is not None:
            raise Refused(f"simulate does not heed {key}. {instead}")


def _admit_working_directory() -> None:
    """Let modules of the working directory be found, last of all, as the command line does.

    Where the caller finds them already, the order stays as it is.
    """
    here, before = search_path.own_folder(), list(sys.path)
    with search_path.looking_in(here):
        pass
    if {"", str(here)} & set(before):
        sys.path[:] = before


def _new_folder() -> Path:
    """Make a folder that nobody else has, named after the time."""
    below = Path.cwd() / "outputs" / "simulate"
    stamp, count = datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), 1
    while True:
        folder = below / (stamp if count == 1 else f"{stamp}-{count}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            count += 1
        else:
            return folder


def _silent() -> Console:
    return Console(file=io.StringIO(), quiet=True, force_jupyter=False)


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Give the caller back the number of torch's threads, which a run sets to one."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
