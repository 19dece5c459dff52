"""The two apps that `flwr run` starts: the same experiment, on a grid that Flower provides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from fedunlearn.checks import Refused
from fedunlearn.data import Scenario
from fedunlearn.experiment import Experiment, run, seed_of
from fedunlearn.flower import SECONDS_TO_CONNECT, Job, build_client_app, build_server_app, wait_for
from fedunlearn.results import TABLE_WIDTH
from fedunlearn.unlearning import ClientFailed

from . import configured
from .run_config import asked
from .running import show


@dataclass(frozen=True)
class GivenGrid:
    """An engine that starts nothing: somebody else runs the grid, and the clients behind it."""

    grid: Grid
    context: Context
    device: str = "cpu"

    def describe(self, scenario: Scenario) -> str:
        """Say that Flower decides."""
        return "Clients train where Flower runs them, each by itself."

    def run(self, scenario: Scenario, job: Job, kinds: Iterable[type] = ()) -> None:
        """Run ``job`` to its end; each client reads the kinds from its own run config."""
        build_server_app(job, scenario.partition.clients)(self.grid, self.context)


server = ServerApp()
client = ClientApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out what the run config asks for; what goes wrong is a line of the log, and raised."""
    console = Console(width=TABLE_WIDTH, force_terminal=False)
    try:
        carry_out(grid, context, console)
    except Exception as error:
        # `flwr run` exits with 0 all the same, so that the log must tell.
        console.print(
            f"\nfedunlearn FAILED: {error}", highlight=False, soft_wrap=True, markup=False
        )
        raise


def carry_out(grid: Grid, context: Context, console: Console) -> None:
    """Run, print the table, draw the figures, name the files."""
    wanted = asked(context.run_config)
    experiment = replace(wanted.experiment, engine=GivenGrid(grid, context))
    require_supernodes(grid, experiment.partition.clients)
    content = {
        **configured.content(wanted.cfg, wanted.strategies),
        "engine": {"_target_": f"{GivenGrid.__module__}.{GivenGrid.__qualname__}"},
    }
    path = wanted.folder
    how = {name: bool(wanted.cfg[name]) for name in configured.HOW}
    summary = run(experiment, wanted.seeds, path, content, console, overrides=(), **how)
    drawn = show(console, path, summary, experiment.margins, figures=wanted.cfg.figures)
    experiment.logger.figures(path, drawn)
    console.print(f"\nfedunlearn finished: {path}", highlight=False, soft_wrap=True, markup=False)


def require_supernodes(grid: Grid, clients: int) -> None:
    """Raise `Refused` unless Flower simulates one SuperNode for each client.

    Only clients know how many there are: the first to register is asked.
    """
    present = wait_for(grid, 1)
    if not present:
        raise ClientFailed(f"No SuperNode registered in {SECONDS_TO_CONNECT:.0f} seconds.")
    replies = list(grid.send_and_receive([Message(RecordDict(), present[0], "query.supernodes")]))
    if not replies or replies[0].has_error():
        reason = replies[0].error.reason if replies else "it did not answer."
        raise ClientFailed(f"The first SuperNode failed: {reason}")
    count = int(str(replies[0].content.metric_records["metrics"]["num-partitions"]))
    if count != clients:
        raise Refused(
            f"partition.clients={clients} needs {clients} SuperNodes, but Flower simulates "
            f'{count}. Add --federation-config "num-supernodes={clients}" to `flwr run`, or '
            f"partition.clients={count} to the overrides."
        )


@client.query("supernodes")
def supernodes(message: Message, context: Context) -> Message:
    """Tell how many SuperNodes Flower simulates."""
    metrics = MetricRecord({"num-partitions": int(context.node_config["num-partitions"])})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@client.query()
def hello(message: Message, context: Context) -> Message:
    """Tell the partition, as every client of this package does; it depends on no seed."""
    return _player(context, seed=0)(message, context)


@client.query("sums")
def sums(message: Message, context: Context) -> Message:
    """Add up over records of the federation that the message's seed belongs to."""
    return _answer(message, context)


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train in the federation that the message's seed belongs to."""
    return _answer(message, context)


def _answer(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)  # more would change the last bits, and Flower runs clients in parallel
    training = int(str(message.content.config_records["config"]["seed"]))
    experiment, seeds = _asked(context)
    return _player(context, seed_of(training, seeds, experiment.references))(message, context)


def _player(context: Context, seed: int) -> ClientApp:
    """Return the app that plays the clients of the run config's federation under ``seed``."""
    experiment, _ = _asked(context)
    return build_client_app(experiment.scenario(seed), kinds=experiment.kinds)


def _asked(context: Context) -> tuple[Experiment, Sequence[int]]:
    """Return what the run config asks for, and the seeds."""
    return _composed(tuple(sorted(context.run_config.items())))


@lru_cache(maxsize=1)
def _composed(run_config: tuple[tuple[str, object], ...]) -> tuple[Experiment, Sequence[int]]:
    """Compose once a process: it takes longer than many a training."""
    wanted = asked(dict(run_config))
    return wanted.experiment, wanted.seeds
