"""`fedunlearn withdraw`: one strategy, one seed; returns the number that a sweeper minimises."""

import math

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fedunlearn.checks import Refused, nearest
from simulations import configured
from simulations.guard import check_command_line, sentences
from simulations.report import carry_out


def objective(names: list[str], summary: pd.DataFrame) -> float:
    """Return ``sum |value|`` of the columns ``names`` in the last row of a strategy's summary.

    Without a request there is nothing to minimise: nan. Raises `Refused` for an unknown column.
    """
    if summary.empty:
        return math.nan
    for name in names:
        if name not in summary:
            raise Refused(
                f"minimise names {name}, which does not exist{nearest(name, map(str, summary))}"
            )
    return math.fsum(abs(float(summary[name].iloc[-1])) for name in names)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def app(cfg: DictConfig) -> float:
    """Run the configured withdrawal."""
    with sentences():
        name = HydraConfig.get().runtime.choices["strategy"]
        summary = carry_out(cfg, {name: cfg.strategy}, [cfg.seed])
        return objective(list(cfg.minimise), summary[summary["strategy"] == name])
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
