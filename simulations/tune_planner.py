"""`fedunlearn tune-planner`: which strategy serves which part best, when RUM divides the leavers.

Writes trials.csv and tuned.yaml, which `fedunlearn compare tuned=FILE` puts beside the untuned.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fedunlearn import checks, evaluators, results
from fedunlearn.checks import Refused

from . import compare, configured, plain_values, variants
from .guard import check_command_line, require_one_configuration, sentences
from .overrides import key_and_value
from .tune import Space, Trial, carry_out, told

if TYPE_CHECKING:
    import pandas as pd

    from fedunlearn.experiment import Experiment

RUM = "rum"
"""The strategy whose table is tuned."""

CANDIDATES = ("none", "finetune", "fedquit", "random_label", "ssd")
"""What may serve a part, unless ``strategies`` says otherwise."""

LEGEND = (
    "Distance: 1 - ToW, the mean over validation seeds; ToW = (1 - |forget gap|) (1 - |retained "
    "gap|) (1 - |test gap|), and 1 is retraining. Points: test accuracy gained. Work: epochs of "
    "clients, next to retraining's."
)
"""How to read the table."""


def candidates(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return what may serve a part: what ``strategies`` names, if the command line has it."""
    if "strategies" not in dict(map(key_and_value, overrides)):
        return list(CANDIDATES)
    names = list(compare.strategies(cfg, ""))
    varied = next((name for name in names if name not in variants.options()), None)
    if varied is not None or RUM in names:
        raise Refused(
            f"fedunlearn tune-planner makes tables of names, not of {varied or RUM}: write "
            "'strategies=[none,finetune,fedquit]', say."
        )
    return names


def tables(
    names: Sequence[str], parts: int, seeds: Sequence[int]
) -> Iterator[Mapping[str, object]]:
    """Yield every table of ``parts`` strategies once, in an order that ``seeds`` alone decide."""
    every = [list(table) for table in itertools.product(names, repeat=parts)]
    random.Random(f"{list(seeds)} planner").shuffle(every)
    for table in every:
        yield {"strategies": table}


def untuned(cfg: DictConfig) -> Experiment:
    """Build the comparison of RUM as it stands; raise `Refused` for what cannot be."""
    checks.require("trials", checks.Whole(1), cfg.trials)
    if cfg.references is None:
        cfg.references = 1  # ToW needs no spread
    return configured.experiment(cfg, compared(cfg))


def compared(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return RUM, as the command line has it, and the untouched model."""
    return compare.with_untouched({RUM: variants.spelled_out(cfg.strategy)})


def judge(summary: pd.DataFrame, named: Mapping[str, Trial]) -> pd.DataFrame:
    """Return the table of trials in which the distance is 1 - ToW."""
    scores = evaluators.tradeoffs(summary)
    tow = scores[scores["metric"] == "tow"].groupby("strategy")["value"].mean()
    table = results.trial_table(summary, told(named), results.Margins())
    return results.nearest(
        table.assign(distance=1 - tow[list(named)].to_numpy(), worst="", mean=0.0)
    )


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> None:
    """Try tables, and say which has the highest ToW."""
    with sentences():
        seeds = plain_values.seeds(cfg.validation, "validation")
        names = candidates(cfg, HydraConfig.get().overrides.task)
        parts = len(cfg.strategy.strategies)
        experiment = untuned(cfg)
        space = Space.of(
            experiment,
            seeds,
            lambda name: tables(names, parts, seeds) if name == RUM else (),
            cfg.trials,
        )
        carry_out(cfg, space, compared(cfg), judge, lambda _: LEGEND)


def checked(cfg: DictConfig) -> None:
    """Raise `Refused` for what cannot be tuned."""
    chosen = cfg.hydra.runtime.choices.strategy
    if chosen != RUM:
        raise Refused(
            f"fedunlearn tune-planner tunes {RUM}: leave out strategy={chosen}. What may serve a "
            "part is named by 'strategies=[…]'."
        )
    plain_values.seeds(cfg.validation, "validation")
    candidates(cfg, cfg.hydra.overrides.task)
    untuned(cfg)


def main() -> None:
    """Check the command line, then hand over to Hydra."""
    if not any(argument.startswith("strategy=") for argument in sys.argv):
        sys.argv.append(f"strategy={RUM}")
    with sentences():
        require_one_configuration("tune-planner")
        check_command_line("tune-planner", checked)
        app()


if __name__ == "__main__":
    main()
