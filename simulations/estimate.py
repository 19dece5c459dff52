"""`fedunlearn estimate`: what a comparison will cost, counted without training; writes nothing."""

from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from fedunlearn.data import build_federation
from fedunlearn.experiment import Experiment
from fedunlearn.experiment.estimate import LEGEND, Pace, estimate, estimated_costs
from fedunlearn.results import decidable, plain_console

from . import configured
from .compare import strategies
from .guard import check_command_line, require_one_configuration, sentences


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(comparison: tuple[Experiment, Sequence[int]]) -> None:
    """Count and time, and print what is expected."""
    console = plain_console()
    experiment, seeds = comparison
    size = build_federation(experiment.scenarios(seeds)[seeds[0]]).network.layout.size
    _, picked = experiment.within_budget(size)
    console.print("Timing a few rounds …")
    pace = Pace.of(*comparison)
    costs = estimate(*comparison, pace)
    console.print("", estimated_costs(costs), LEGEND, pace.describe(), sep="\n")
    if picked:
        console.print(picked)
    console.print(decidable(len(seeds), experiment.references))


def read(cfg: DictConfig) -> tuple[Experiment, Sequence[int]]:
    """Read what `fedunlearn compare` would run, and the seeds."""
    chosen = strategies(cfg, cfg.hydra.runtime.choices.strategy)
    seeds = configured.seeds(cfg.seeds)
    return configured.experiment(configured.settled(cfg, seeds), chosen), seeds


def main() -> None:
    """Check the command line, then count; where a flag only prints, that is left to Hydra."""
    with sentences():
        require_one_configuration("estimate")
        found: list[tuple[Experiment, Sequence[int]]] = []
        check_command_line(lambda cfg: found.append(read(cfg)))
        app(*found)  # past Hydra's main function, which would make an output folder
