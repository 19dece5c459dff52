"""What Optuna may try, in the words of Hydra's command line.

``choice(a,b)`` or ``a,b`` is one of them, ``range(1,9)`` a number on a grid, without the last,
``interval(0.1,1)`` any number between the two, ``int(interval(1,64))`` a whole one, and
``tag(log,interval(0.001,1))`` one whose logarithm is as likely here as there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from fedunlearn.checks import Refused


def split(overrides: Iterable[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Return what is searched, by key, and the overrides that all trials have in common.

    A later override of a key replaces an earlier one. Raises `Refused` where nothing is searched.
    """
    space: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        space.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            space[key] = distribution(override)
        else:
            fixed[key] = str(override.input_line)
    if not space:
        raise Refused(
            "There is nothing to search: give values to try, strategy.effort='interval(0.1,1)' say."
        )
    return space, list(fixed.values())


def distribution(override: Override) -> BaseDistribution:
    """Return what one override lets Optuna choose from; choices stay words of the command line."""
    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        assert sweep.end is not None
        log, whole = "log" in sweep.tags, isinstance(sweep.start, int)
        kind = IntDistribution if whole else FloatDistribution
        return kind(sweep.start, sweep.end, log=log)  # type: ignore[arg-type]
    if isinstance(sweep, RangeSweep):
        grid = list(sweep.range())
        if all(isinstance(value, int) for value in grid):
            return IntDistribution(grid[0], grid[-1], step=int(sweep.step))
        return FloatDistribution(grid[0], grid[-1], step=float(sweep.step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def defaults(space: Mapping[str, BaseDistribution], cfg: DictConfig) -> dict[str, Any]:
    """Return the configured value of each key, where the space holds it."""
    values = {}
    for key, kind in space.items():
        value = OmegaConf.select(cfg, key.lstrip("+"))
        if isinstance(kind, CategoricalDistribution):
            value = next((choice for choice in kind.choices if choice == str(value)), None)
        if isinstance(value, int | float | str) and _holds(kind, value):
            values[key] = value
    return values


def _holds(kind: BaseDistribution, value: Any) -> bool:
    try:
        return kind._contains(kind.to_internal_repr(value))
    except ValueError:
        return False
