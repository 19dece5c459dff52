"""A Hydra callback that lists the runs of a multirun in one file."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fedunlearn.results import write_index


class IndexRuns(Callback):
    """Writes index.csv when a multirun ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Join the summaries of all runs, with what each overrode."""
        write_index(Path(config.hydra.sweep.dir))
