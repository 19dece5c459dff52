"""Masks: what is frozen keeps its bits, what is slowed takes a share of its step."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.flower import Local
from fedunlearn.history import Needs
from fedunlearn.local import Adam, LocalWork, Mask, Sgd
from fedunlearn.unlearning import Access, Ledger, Training
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.world import RATE, D, World

NEEDS = Needs(remaining=True, masks=True)
WORK = LocalWork(epochs=2, optimizer=Sgd(lr=0.05, momentum=0.9, weight_decay=0.1), clip_norm=1.0)


def masked(clients):
    return clients.scoped(Access(clients.ids, NEEDS))


class TestClosedForm:
    factors = torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0, 0.25])

    def test_every_step_is_scaled(self):
        """Of |w - t|^2 / 2, E steps with rate r and factor m leave (1 - m r)^E of the way."""
        world = World()
        start = world.start.history.initial
        with world.open() as clients:
            updates = masked(clients).train(start, [1], round=1, mask=Mask(self.factors))
        target = world.here.train[1].inputs[0].flatten()
        left = (1 - self.factors * RATE) ** 3
        torch.testing.assert_close(updates.deltas[0], (1 - left) * (target - start))
        assert not updates.deltas[0][self.factors == 0].any()

    def test_a_mask_of_ones_is_none(self):
        world = World()
        start = world.start.history.initial
        with world.open() as clients:
            free = masked(clients).train(start, round=1)
            all_of_it = masked(clients).train(start, round=1, mask=Mask(torch.ones(D)))
        assert torch.equal(free.deltas, all_of_it.deltas)

    @pytest.mark.parametrize(
        ("factors", "down"),
        [(torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 1.0]), 1), (factors, 4 * D)],
        ids=["bits", "numbers"],
    )
    def test_what_travels_is_charged_and_nothing_else(self, factors, down):
        world, ledger = World(), Ledger()
        start = world.start.history.initial
        with world.open(ledger) as clients:
            masked(clients).train(start, round=1, mask=Mask(factors))
        for charge in ledger:
            assert charge.bytes_down == start.nbytes + down
            assert charge.bytes_up == 4 * int((factors > 0).sum())


@pytest.mark.parametrize("work", [WORK, LocalWork(epochs=1, optimizer=Adam())], ids=["sgd", "adam"])
def test_engines_agree_and_what_is_frozen_keeps_its_bits(work):
    """Where only gradients are masked, momentum, weight decay and Adam move what is frozen."""
    found = {}
    for mode in ("workers", "cohort", "halves"):

        def job(connection, mode=mode):
            clients = masked(scenario_clients(connection, Training(), SMALL))
            network = clients.channel.proxy.network
            weights = network.initial(1)
            moving = torch.rand(len(weights), generator=torch.Generator().manual_seed(3))
            mask = Mask(torch.where(moving < 0.5, 0.0, torch.where(moving < 0.8, 1.0, 0.3)))
            found[mode] = clients.train(weights, work=work, round=1, mask=mask), mask

        Local(workers=2, mode=mode).run(SMALL, job)
    for updates, mask in found.values():
        torch.testing.assert_close(updates.deltas, found["workers"][0].deltas, rtol=1e-4, atol=1e-5)
        assert not updates.deltas[:, ~mask.moving].any()
        assert (updates.deltas[:, mask.moving] != 0).float().mean() > 0.5


class TestPacking:
    @pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
    def test_bits_come_back(self, size):
        moving = torch.arange(size) % 3 == 0
        mask = Mask.of(moving)
        assert mask.packed.nbytes == -(-size // 8)
        assert torch.equal(Mask.unpacked(mask.packed, size).factors, mask.factors)

    def test_what_moved_is_put_back(self):
        mask, weights = Mask.of(torch.tensor([True, False, True])), torch.tensor([1.0, 2.0, 3.0])
        assert mask.moved(weights).tolist() == [1, 3]
        assert mask.put(weights, torch.tensor([5.0, 6.0])).tolist() == [5, 2, 6]
        assert weights.tolist() == [1, 2, 3]


class TestRefused:
    @pytest.mark.parametrize(
        "factors",
        [torch.tensor([0.5, 1.5]), torch.tensor([-0.1, 1]), torch.tensor([float("nan")])],
        ids=str,
    )
    def test_factors_outside(self, factors):
        with pytest.raises(Refused, match="from 0 to 1"):
            Mask(factors)

    def test_a_mask_that_freezes_all(self):
        with pytest.raises(Refused, match="would do nothing"):
            Mask(torch.zeros(3))

    def test_undeclared_masks_and_masks_of_another_model(self):
        world = World()
        with world.open() as clients:
            start = world.start.history.initial
            with pytest.raises(PermissionError, match="masks=True"):
                clients.train(start, round=1, mask=Mask(torch.ones(D)))
            with pytest.raises(ValueError, match="3 factors, but the model 6"):
                masked(clients).train(start, round=1, mask=Mask(torch.ones(3)))
