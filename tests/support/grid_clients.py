"""All clients of a scenario behind a connection, as a run asks them."""

from dataclasses import replace

from fedunlearn.data import FROM_THE_START, build_federation
from fedunlearn.flower import grid_clients
from fedunlearn.local import RidgeSums
from fedunlearn.unlearning import Ledger, ProxyData


def scenario_clients(connection, training, scenario, ledger=None, images=None):
    """Return the clients, and on the server the proxy data of the scenario, or ``images``."""
    federation, ledger = build_federation(scenario), Ledger() if ledger is None else ledger
    images = federation.proxy if images is None else images
    return grid_clients(
        connection, training, ProxyData(federation.network, images, ledger, scenario.seed)
    )


def with_channel(clients, **changes):
    """Return the same clients with ``changes`` to what reaches them."""
    return replace(clients, channel=replace(clients.channel, **changes))


def with_training(clients, **changes):
    """Return the same clients under a training with ``changes``."""
    return with_channel(clients, training=replace(clients.channel.training, **changes))


def ridge_answers(clients, weights):
    """Return the sums for a ridge head that each client makes on a model before round 1."""
    answers = clients.query(weights, RidgeSums(), round=FROM_THE_START)
    return {client: sums["sums"] for client, sums in answers.items()}
