"""Apps in the shape of Flower's examples: how far wrapping moves them, and who can be forgotten."""

import copy
import logging
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from benchmarks import report
from benchmarks.example_apps import APPS, CLIENTS, ExampleApp
from fedunlearn.checks import Refused
from fedunlearn.flower import InProcessGrid, Unlearning
from fedunlearn.flower.scoped_grid import Present
from fedunlearn.simulations import docs_tables
from strategies.none import Nothing
from strategies.retrain import Retrain

ROUNDS, AFTER, LEAVER = 4, 3, 2
COLUMNS = ("app", "plain", "fresh", "served", "refused")


class Ordered(Present):
    """A grid whose replies come in the order of nodes: another order rounds a mean otherwise."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send, wait, and sort."""
        answers = list(super().send_and_receive(messages, timeout=timeout))
        return sorted(answers, key=lambda answer: answer.metadata.src_node_id)


def main(arguments: Sequence[str] | None = None) -> None:
    """Wrap every app, and print a row for each."""
    parser = report.command_line(__doc__ or "", repetitions=1)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rows = [measured(name, app) for name, app in APPS.items()]
    print(report.table(list(COLUMNS), rows))
    if options.out:
        report.write_csv(options.out, COLUMNS, rows)


def measured(name: str, app: ExampleApp) -> list[str]:
    """Return the row of an app."""
    served, refused = methods(app)
    apart = [f"{value:.2g}" for value in distances(app)]
    return [name, *apart, " ".join(served), " ".join(refused)]


def distances(app: ExampleApp) -> tuple[float, float]:
    """Return how far apart models are that should be equal.

    Of training without withdrawals, from plain Flower's; of retraining, from a run of plain Flower
    in which the leaver never was.
    """
    everybody = range(CLIENTS)
    plain = trained(app, app.strategy(), everybody)
    untouched = trained(app, wrapped(app, Nothing(), {}), everybody)
    fresh = trained(app, app.strategy(), [c for c in everybody if c != LEAVER])
    retrained = trained(app, wrapped(app, Retrain(), {AFTER: [LEAVER]}), everybody)
    return distance(untouched, plain), distance(retrained, fresh)


def methods(app: ExampleApp) -> tuple[list[str], list[str]]:
    """Return which methods of conf/strategy serve a withdrawal from the app, and which refuse."""
    served, refused = [], []
    for method in docs_tables.names():
        try:
            unlearning = wrapped(app, docs_tables.strategy(method), {AFTER: [LEAVER]})
            trained(app, unlearning, range(CLIENTS))
            served.append(method)
        except (Refused, PermissionError):
            refused.append(method)
    return served, refused


def wrapped(app: ExampleApp, method: object, withdrawals: dict[int, list[int]]) -> Unlearning:
    """Return the app's strategy in `Unlearning`."""
    return Unlearning(app.strategy(), method, withdrawals, clients=CLIENTS)  # type: ignore[arg-type]


def trained(app: ExampleApp, strategy: Strategy, clients: Iterable[int]) -> ArrayRecord:
    """Return the last arrays of a run with some clients."""
    grid = InProcessGrid(app.client(), CLIENTS, workers=1)
    nodes = sorted(grid.get_node_ids())
    shown: Grid = Ordered(grid, frozenset(nodes[client] for client in clients))
    try:
        return strategy.start(
            grid=shown,
            initial_arrays=app.arrays(),
            num_rounds=ROUNDS,
            train_config=ConfigRecord(copy.deepcopy(dict(app.config))),
        ).arrays
    finally:
        grid.close()


def distance(one: ArrayRecord, other: ArrayRecord) -> float:
    """Return the greatest difference of two models' numbers."""
    assert one.keys() == other.keys()
    pairs = ((one[name].numpy(), other[name].numpy()) for name in one)
    return max(float(np.abs(a.astype(float) - b.astype(float)).max()) for a, b in pairs)


if __name__ == "__main__":
    main()
