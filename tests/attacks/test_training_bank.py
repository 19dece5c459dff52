from dataclasses import replace

import pytest
import torch

from fedunlearn.attacks import training_bank as bank_module
from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.data import Backdoor, Digits, Dirichlet, Scenario, build_federation
from fedunlearn.flower import Local
from fedunlearn.local import ImageAugmentation, LocalWork, Sgd, Straggling, Threads
from fedunlearn.models import Mlp
from fedunlearn.unlearning import Access, FedAvgM, Training
from tests.support.grid_clients import scenario_clients

SCENARIO = Scenario(Digits(), Dirichlet(clients=5), Backdoor(), Mlp((16,)), (1,), seed=4)
TRAININGS = {
    "all clients": Training(rounds=3, work=LocalWork(epochs=1)),
    "cohorts and server momentum": Training(
        rounds=4, cohort=0.4, work=LocalWork(1, optimizer=Sgd(0.05)), server=FedAvgM()
    ),
    "absences and changed records": Training(
        rounds=4,
        dropout=0.5,
        work=LocalWork(
            epochs=2,
            straggling=Straggling(0.5),
            augmentation=ImageAugmentation(shift=1, noise=0.1),
        ),
    ),
}


def ordinary(training, member):
    """Train one member over Flower messages."""
    models = []

    def job(connection):
        everybody = scenario_clients(connection, training, SCENARIO)
        clients = replace(everybody, seed=member.seed, access=Access(member.clients))
        models.extend(w for _, w in clients.rounds(member.initial, 1, training.rounds))

    Local(mode="workers").run(SCENARIO, job)
    return models[-1]


def members(*seeds):
    network = build_federation(SCENARIO).network
    return [Member(network.initial(seed), seed, frozenset({0, 2, 3, 4})) for seed in seeds]


@pytest.mark.parametrize("mode", ["workers", "cohort"])
@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_every_row_is_an_ordinary_training(training, mode):
    bank = members(4, 9, 11)
    bank[2] = replace(bank[2], clients=frozenset({0, 3}))  # a shadow model has fewer
    together = train_bank(bank, Local(mode=mode).trainer(SCENARIO), training, training.rounds)
    for row, member in zip(together, bank, strict=True):
        torch.testing.assert_close(row, ordinary(training, member), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_members_that_do_not_fit_wait_for_their_turn(monkeypatch):
    training = TRAININGS["all clients"]
    trainer = Local(mode="workers").trainer(SCENARIO)
    assert isinstance(trainer, Threads)
    whole = train_bank(members(1, 2, 3), trainer, training, 2)
    monkeypatch.setattr(bank_module, "HOST_BUDGET", 1)
    assert torch.equal(train_bank(members(1, 2, 3), trainer, training, 2), whole)


def test_nobody_to_train_with_is_an_error():
    trainer = Local().trainer(SCENARIO)
    (lonely,) = members(1)
    with pytest.raises(ValueError, match="no clients"):
        train_bank([replace(lonely, clients=frozenset())], trainer, Training(), 1)
    assert train_bank([], trainer, Training(), 1).shape == (0, 0)
