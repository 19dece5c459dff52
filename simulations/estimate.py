"""`fedunlearn estimate`: what a comparison will cost, counted without training; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from fedunlearn import data, results
from fedunlearn.experiment import estimate

from . import configured, plain_values
from .compare import strategies
from .guard import check_command_line, require_one_configuration, sentences

if TYPE_CHECKING:
    from fedunlearn.experiment import Experiment


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(comparison: tuple[Experiment, Sequence[int]]) -> None:
    """Count and time, and print what is expected."""
    console = results.plain_console()
    experiment, seeds = comparison
    size = data.build_federation(experiment.scenarios(seeds)[seeds[0]]).network.layout.size
    _, picked = experiment.within_budget(size)
    console.print("Timing a few rounds …")
    pace = estimate.Pace.of(*comparison)
    costs = estimate.estimate(*comparison, pace)
    console.print(
        "", estimate.estimated_costs(costs), estimate.ESTIMATE_LEGEND, pace.describe(), sep="\n"
    )
    if picked:
        console.print(picked)
    console.print(results.decidable(len(seeds), experiment.references))


def read(cfg: DictConfig) -> tuple[Experiment, Sequence[int]]:
    """Read what `fedunlearn compare` would run, and the seeds."""
    chosen = strategies(cfg, cfg.hydra.runtime.choices.strategy)
    seeds = plain_values.seeds(cfg.seeds)
    return configured.experiment(configured.settled(cfg, seeds), chosen), seeds


def main() -> None:
    """Check the command line, then count; where a flag only prints, that is left to Hydra."""
    with sentences():
        require_one_configuration("estimate")
        comparisons: list[tuple[Experiment, Sequence[int]]] = []
        check_command_line("estimate", lambda cfg: comparisons.append(read(cfg)))
        app(*comparisons)  # past Hydra's main function, which would make an output folder
