"""Strategies with a ``start`` of their own: theirs is run, and each of its rounds is one model.

What it does besides, saving the best model, say, it goes on doing, with all models in their order.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedunlearn.checks import Refused
from fedunlearn.flower.scoped_grid import Present

HOOKS = (
    *("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate"),
    "summary",
)


def has_own_start(strategy: Strategy) -> bool:
    """Whether a strategy loops over rounds by itself, and not as Flower's do."""
    return type(strategy).start is not Strategy.start


class Silent(Present):
    """A grid on which nothing is sent but evaluations that the strategy was handed."""

    def __init__(self, grid: Grid, name: str) -> None:
        super().__init__(grid, frozenset(grid.get_node_ids()))
        self._name = name
        self.handed: list[Message] = []
        self.evaluate: Callable[[list[Message]], list[Message]] = lambda messages: []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return replies to evaluations, and none where nobody is asked."""
        wanted = list(messages)
        if not wanted:
            return []
        known = {id(message) for message in self.handed}
        if any(id(message) not in known for message in wanted):
            raise self._refused("sends messages of its own")
        return self.evaluate(wanted)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: what is sent must go through `send_and_receive`."""
        raise self._refused("sends messages by push_messages")

    def _refused(self, what: str) -> Refused:
        return Refused(
            f"{self._name}.start {what}, so that unlearning cannot be put between its rounds. Let "
            "it send what configure_train and configure_evaluate return by send_and_receive, or "
            f"wrap a {self._name} without a start of its own."
        )


def run_own_start(
    strategy: Strategy,
    hooks: dict[str, Callable[..., Any]],
    grid: Grid,
    initial: ArrayRecord,
    rounds: int,
    timeout: float,
    configs: tuple[ConfigRecord, ConfigRecord],
    evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
) -> Result:
    """Run a strategy's own ``start`` with our ``hooks`` in place of its methods of that name.

    Attributes that it sets are those of ``strategy`` afterwards.
    """
    driver = copy.copy(strategy)
    for name in HOOKS:
        setattr(driver, name, hooks[name])
    train_config, evaluate_config = configs
    result = driver.start(
        grid=grid,
        initial_arrays=initial,
        num_rounds=rounds,
        timeout=timeout,
        train_config=train_config,
        evaluate_config=evaluate_config,
        evaluate_fn=evaluate_fn,
    )
    vars(strategy).update({name: v for name, v in vars(driver).items() if name not in HOOKS})
    return result
