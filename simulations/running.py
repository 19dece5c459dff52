"""Carry out a configured run and show what came of it: a table, and the files by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from fedunlearn.experiment import copied_to_log, finished, run
from fedunlearn.results import (
    MANIFEST_FILE,
    STREAM_LEGEND,
    Margins,
    PersistentConsole,
    all_wishes,
    answer_notes,
    listed_owners,
    load,
    load_answers,
    plots,
    printed_answers,
    printed_stream,
    printed_summary,
    read_manifest,
    stream_requests,
    stream_table,
    summary_notes,
    then,
    wide_enough,
)
from fedunlearn.results.costing import modelled_devices, with_seconds

from . import configured
from .interruptions import stop

if TYPE_CHECKING:
    import pandas as pd

    from fedunlearn.experiment import Experiment

MOST_SHOWN = 10
"""Requests of a stream that are each told on the terminal; of more, only the stream as a whole."""


def carry_out(
    cfg: DictConfig, strategies: Mapping[str, DictConfig], seeds: Sequence[int]
) -> pd.DataFrame:
    """Run, print the table, draw the figures, name the files; return the summary."""
    console = wide_enough(PersistentConsole())
    many = HydraConfig.get().mode is RunMode.MULTIRUN
    path = Path(HydraConfig.get().runtime.output_dir)
    again = bool(cfg.resume) and (path / MANIFEST_FILE).exists() and finished(path)
    experiment, summary = carried_out(cfg, strategies, seeds, path, console)
    with nullcontext() if again else copied_to_log(path, console):
        if many:  # one table at the end shows all runs
            drawn = plots.draw(path) if cfg.figures else []
        else:
            drawn = show(console, path, summary, experiment.margins, figures=cfg.figures)
    experiment.logger.figures(path, drawn)
    return summary


def carried_out(
    cfg: DictConfig,
    strategies: Mapping[str, DictConfig],
    seeds: Sequence[int],
    path: Path,
    console: Console,
) -> tuple[Experiment, pd.DataFrame]:
    """Run into ``path``; return what was run, and the summary. Ctrl-C says how to go on."""
    here = HydraConfig.get()
    console.print(f"Results go to {shown(path)}", highlight=False, soft_wrap=True)
    experiment = configured.experiment(cfg, strategies)
    content = configured.content(cfg, strategies)
    how = {name: bool(cfg[name]) for name in configured.HOW}
    given = configured.telling(here.overrides.task)
    try:
        summary = run(experiment, seeds, path, content, console, overrides=given, **how)
    except KeyboardInterrupt:
        many = here.mode is RunMode.MULTIRUN
        folder = Path(here.sweep.dir).absolute() if many else path
        stop(
            f"Stopped. Go on with: fedunlearn {here.job.name.replace('_', '-')} run={shown(folder)}"
        )
    return experiment, summary


def show(
    console: Console, path: Path, summary: pd.DataFrame, margins: Margins, *, figures: bool
) -> list[Path]:
    """Print answers and table of a finished run, draw its figures if asked to, name its files.

    Returns the files of the figures.
    """
    manifest = read_manifest(path)
    requests = stream_requests(path, manifest)
    if requests is not None:
        timed = with_seconds(requests, load(path).ledger, modelled_devices(manifest))
        table = stream_table(summary, timed, load_answers(path))
        console.print(printed_stream(table))
        console.print(STREAM_LEGEND, highlight=False)
    if requests is not None and requests["request"].nunique() > MOST_SHOWN:
        console.print(
            f"Request by request: {shown(path)}/answers.csv and summary.csv.",
            highlight=False,
            soft_wrap=True,
        )
    elif len(summary):
        answers = load_answers(path)
        owners = listed_owners(manifest)
        leavers = then([asked.what for asked in all_wishes(summary, owners)])
        console.print(printed_answers(answers, leavers))
        for note in answer_notes(answers, margins):
            console.print(note, highlight=False, markup=False)
        console.print("", printed_summary(summary, owners))
        for note in summary_notes(summary):
            console.print(note, highlight=False)
    drawn = plots.draw(path) if figures else []
    show_files(console, path, drawn)
    return drawn


def shown(path: Path) -> Path:
    """Return a path relative to where the user stands, where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def show_files(console: Console, path: Path, figures: Sequence[Path]) -> None:
    """Name the files of a run, relative to where the user stands where that is shorter."""
    place = shown(path)
    lines = [
        f"{place}/answers.csv, requests.csv, summary.csv, verdicts.csv, metrics.csv, ledger.csv,",
        f"{place}/clients.csv, manifest.json, run.log, models/, certificates/",
        *(f"{place}/figures/{figure.name}" for figure in figures if figure.suffix == ".png"),
    ]
    also = " (each figure as .svg as well)" if figures else ""
    console.print(f"\nWritten{also}:", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
