"""What a message to plain clients can ask: their app's local training, of more or fewer epochs."""

from dataclasses import replace
from typing import NoReturn, cast

from fedunlearn.checks import Refused
from fedunlearn.flower.train_configs import TrainConfigs
from fedunlearn.local import LocalWork, Mask
from fedunlearn.unlearning import Second

EPOCHS = "local-epochs"
"""The key of ``train_config`` that says how many epochs a client trains."""


def plain_work(configs: TrainConfigs) -> LocalWork:
    """Return the app's local training: of it, only the number of epochs is known."""
    return LocalWork(epochs=cast(int, configs.at(1).get(EPOCHS, 1)))


def require_able(
    configs: TrainConfigs,
    work: LocalWork,
    other: Second | None = None,
    mask: Mask | None = None,
) -> None:
    """Raise `Refused` for work that no message to plain clients can ask."""
    ordinary = plain_work(configs)
    if other is not None:
        raise Refused("A plain Flower app takes one model a message; choose another method.")
    if mask is not None:
        raise Refused("A plain Flower app trains all of its model; choose another method.")
    if replace(work, epochs=ordinary.epochs) != ordinary:
        raise Refused(
            "The method asks clients for other work than more or fewer epochs, which a plain "
            "Flower app cannot do. Choose another method."
        )
    if work != ordinary and EPOCHS not in configs.at(1):
        raise Refused(
            f"The method asks for {work.epochs} local epochs. Name the epochs of your app as "
            f"{EPOCHS} in train_config, and let its train function obey them."
        )


def refuse_verifier() -> NoReturn:
    """Raise: the server has no labelled records, and knows no marker of a leaver."""
    raise PermissionError("A plain Flower app has no test of a leaver's marker on the server.")


def refuse_proxy() -> NoReturn:
    """Raise: there are no records on the server."""
    raise PermissionError("A plain Flower app has no proxy data on the server.")


def refuse_query() -> NoReturn:
    """Raise: a plain app answers no such question."""
    raise Refused(
        "The method needs sums over each client's records, for which a plain Flower app cannot "
        "be asked. Choose another method."
    )
