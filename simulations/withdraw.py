"""`fedunlearn withdraw`: one strategy; returns the numbers that a sweeper minimises."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fedunlearn.checks import Refused, nearest

from . import configured
from .compare import with_untouched
from .guard import check_command_line, sentences

if TYPE_CHECKING:
    import pandas as pd


def objective(names: list[str], summary: pd.DataFrame) -> float:
    """Return ``sum |value|`` of the columns ``names`` in the last row of a strategy's summary.

    That is the mean over seeds of what each comes to. Without a request there is nothing to
    minimise: nan. Raises `Refused` for an unknown column.
    """
    if summary.empty:
        return math.nan
    for name in names:
        if name not in summary:
            raise Refused(
                f"{name} is minimised, which does not exist{nearest(name, map(str, summary))}"
            )
    last = summary.groupby("seed").tail(1)
    return float(last[names].astype("float64").abs().sum(axis=1, skipna=False).mean())


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> float | list[float]:
    """Run the configured withdrawal.

    A sweeper that has objectives is given a number for each of them, and every other one the
    single number that ``minimise`` names. One that goes on after failures is told of them.
    """
    from .running import carry_out  # after the command line was found to be right

    here = HydraConfig.get()
    sweeper: Any = here.sweeper if here.mode is RunMode.MULTIRUN else {}
    with nullcontext() if sweeper.get("keep_going") else sentences():
        name = here.runtime.choices["strategy"]
        seeds = configured.seeds(cfg.seed)
        chosen = with_untouched({name: cfg.strategy})
        summary = carry_out(configured.settled(cfg, seeds), chosen, seeds)
        mine = summary[summary["strategy"] == name]
        if "objectives" in sweeper:
            return [objective(list(names), mine) for names in sweeper.objectives.values()]
        return objective(list(cfg.minimise), mine)
    raise AssertionError("sentences() lets no exception through")


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    with sentences():
        check_command_line(
            lambda cfg: configured.experiment(
                cfg, {cfg.hydra.runtime.choices.strategy: cfg.strategy}
            )
        )
        app()


if __name__ == "__main__":
    main()
