"""Digits at four clients, trained under any engine."""

from fedunlearn.data import Backdoor, Digits, Dirichlet, Scenario, build_federation
from fedunlearn.flower import kinds_in
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Ledger
from tests.support.grid_clients import scenario_clients

SMALL = Scenario(Digits(), Dirichlet(clients=4), Backdoor(), Mlp(), (1,), seed=5)


def train_small(engine, training, scenario=SMALL):
    """Train on digits under an engine; return the weights and the ledger."""
    here, ledger, models = build_federation(scenario), Ledger(), []

    def job(connection):
        clients = scenario_clients(connection, training, scenario, ledger)
        models.extend(weights for _, weights in clients.rounds(here.initial, 1, training.rounds))

    engine.run(scenario, job, kinds_in(training))
    return models[-1], ledger


def bytes_of(ledger):
    return [(c.client, c.bytes_down, c.bytes_up, c.samples) for c in ledger]
