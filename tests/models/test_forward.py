"""Logits batch by batch are those of one pass, whatever the batches."""

from multiprocessing.pool import ThreadPool

import pytest
import torch

from fedunlearn.models import Mlp, Network, logits
from fedunlearn.models.forward import packed

NETWORK = Network(Mlp((5,)), (1, 4, 4), 3)
IMAGES = [torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(n)) for n in (7, 0, 12, 1)]


@pytest.mark.parametrize("size", [1, 3, 7, 20, 1024])
def test_rows_stand_in_the_order_of_the_images(size):
    weights = NETWORK.initial(0)
    rows = logits(NETWORK, weights, IMAGES, size)
    torch.testing.assert_close(rows, NETWORK(weights, torch.cat(IMAGES)))


def test_no_batch_but_the_last_is_smaller_than_asked_for():
    assert [len(batch) for batch in packed(IMAGES, 6)] == [6, 6, 6, 2]


def test_no_gradient_is_kept_in_any_thread():
    weights = NETWORK.initial(0).requires_grad_()
    with ThreadPool(2) as pool:
        rows = logits(NETWORK, weights, IMAGES, 4, pool.map)
    assert not rows.requires_grad
    assert torch.equal(rows, logits(NETWORK, weights, IMAGES, 4))
