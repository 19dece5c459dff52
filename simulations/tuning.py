"""Makes our sweeper known to Hydra, where a configuration asks for it."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from fedunlearn import checks
from fedunlearn.checks import Refused

SWEEPER = "hydra_plugins.fedunlearn.OptunaSweeper"
"""The name by which a configuration asks for it."""

PLUGINS = str(Path(__file__).parent / "plugins")
"""The folder of our part of ``hydra_plugins``."""


def prepare(cfg: DictConfig) -> None:
    """Register the sweeper if ``cfg``, Hydra's own part included, names it.

    Raises `Refused` where Optuna is missing, or where the sweeper's values cannot be.
    """
    sweeper = cfg.hydra.sweeper
    if sweeper.get("_target_") != SWEEPER:
        return
    if find_spec("optuna") is None:
        raise Refused("hydra/sweeper=optuna needs Optuna: pip install 'fedunlearn[tune]'")
    checks.whole("hydra.sweeper.n_trials", sweeper.n_trials)
    checks.whole("hydra.sweeper.seed", sweeper.seed, at_least=0)
    if not sweeper.objectives:
        raise Refused("hydra.sweeper.objectives must name what is minimised.")
    for name, columns in sweeper.objectives.items():
        if not columns:
            raise Refused(f"hydra.sweeper.objectives.{name} must list columns of summary.csv.")
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    module, _, name = SWEEPER.rpartition(".")
    Plugins.instance().register(getattr(import_module(module), name))
