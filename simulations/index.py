"""A Hydra callback that begins the folder of a multirun anew, and lists its runs in one file."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fedunlearn.results import plain_console, printed_runs, remove_derived, write_index


class IndexRuns(Callback):
    """Writes index.csv when a multirun ends, and shows its runs in one table."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Delete what commands made of an earlier multirun in the folder, if it is replaced."""
        if config.overwrite and not config.resume:
            remove_derived(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Join the summaries of all runs, with what each overrode, and print their answers."""
        folder = Path(config.hydra.sweep.dir)
        index = write_index(folder)
        console = plain_console()
        console.print("", printed_runs(folder), f"\nWritten: {index}", soft_wrap=False)
