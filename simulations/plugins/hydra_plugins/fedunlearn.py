"""Where Hydra takes sweepers from: the package ``hydra_plugins``, which many folders share."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hands the values of conf/hydra/sweeper/optuna.yaml to `simulations.search`."""

    def __init__(self, **values: Any) -> None:
        """Take the values as Hydra made them."""
        self.values = values
        self.search: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands every sweeper."""
        from simulations.search import Search  # whose Optuna takes a second

        self.search = Search.over(hydra_context, task_function, config, **self.values)

    def sweep(self, arguments: list[str]) -> None:
        """Search what ``arguments`` and the configuration leave open."""
        self.search.carry_out(arguments)
