"""Where Hydra takes sweepers from: the package ``hydra_plugins``, which many folders share."""

from importlib import import_module
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hands the values of conf/hydra/sweeper/optuna.yaml to `fedunlearn.simulations.search`."""

    def __init__(self, **values: Any) -> None:
        """Take the values as Hydra made them."""
        self.values = values
        self.search: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands every sweeper."""
        # imported here, for its Optuna takes a second
        search = import_module("fedunlearn.simulations.search").Search
        self.search = search.over(hydra_context, task_function, config, **self.values)

    def sweep(self, arguments: list[str]) -> None:
        """Search what ``arguments`` and the configuration leave open."""
        self.search.carry_out(arguments)
