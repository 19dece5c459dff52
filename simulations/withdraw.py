"""`fedunlearn withdraw`: one strategy; returns the numbers that a sweeper minimises."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fedunlearn import results
from fedunlearn.checks import Refused, nearest

from . import configured, plain_values
from .compare import with_untouched
from .guard import check_command_line, sentences
from .variants import spelled_out
from .withdrawals import value

if TYPE_CHECKING:
    import pandas as pd

OURS = "fedunlearn.evaluators"
"""The room of the evaluators whose metrics are known."""


def objective(names: list[str], summary: pd.DataFrame) -> float:
    """Return ``sum |value|`` of the columns ``names`` in the last row of a strategy's summary.

    That is the mean over seeds of what each comes to. Without a request there is nothing to
    minimise, nor where a metric has no value because nobody left or nothing was planted: nan.
    Raises `Refused` for a column that no metric has.
    """
    if summary.empty:
        return math.nan
    absent = [name for name in names if name not in summary]
    if absent and set(absent) <= known_columns():
        return math.nan
    for name in absent:
        raise Refused(
            f"{name} is minimised, which does not exist{nearest(name, map(str, summary))}"
        )
    last = summary.groupby("seed").tail(1)
    return float(last[names].astype("float64").abs().sum(axis=1, skipna=False).mean())


def known_columns() -> set[str]:
    """Return the columns of a summary that can be minimised: our metrics, their gaps, the costs."""
    metrics = {name for card in results.CARDS for name in (card, f"{card}{results.GAP_SUFFIX}")}
    return metrics | set(results.COST_COLUMNS)


def checked(cfg: DictConfig) -> None:
    """Build the experiment of a composed configuration; raise `Refused` for what cannot be.

    What is minimised must be a column that the evaluators chosen may give.
    """
    strategies = {cfg.hydra.runtime.choices.strategy: spelled_out(cfg.strategy)}
    plain_values.require(cfg, strategies)
    _require_columns(cfg)
    configured.experiment(cfg, strategies)


def _require_columns(cfg: DictConfig) -> None:
    measures = value(cfg.evaluators.measures) or []
    if not all(str(part.get("_target_", "")).startswith(OURS) for part in measures):
        return  # one of the user's own may give anything
    known = known_columns()
    for name in set(cfg.minimise) - known:
        guess = nearest(str(name), known).partition(" The choices")[0]
        raise Refused(
            f"minimise={name} is no column of summary.csv{guess} docs/metrics.md lists them; "
            "append _gap for the distance to retraining."
        )


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
        seeds = plain_values.seeds(cfg.seed, "seed")
        chosen = with_untouched({name: spelled_out(cfg.strategy)})
        summary = carry_out(configured.settled(cfg, seeds), chosen, seeds)
        mine = summary[summary["strategy"] == name]
        if "objectives" in sweeper:
            return [objective(list(names), mine) for names in sweeper.objectives.values()]
        return objective(list(cfg.minimise), mine)
    raise AssertionError("sentences() lets no exception through")


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    with sentences():
        check_command_line("withdraw", checked)
        app()


if __name__ == "__main__":
    main()
