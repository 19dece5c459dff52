"""A client's batches in halves must be the same as whole ones."""

import copy
import gc
import threading

import numpy as np
import pytest
import torch

from fedunlearn.local import (
    Adam,
    Ball,
    DiagonalFisher,
    Halves,
    LocalWork,
    Proximal,
    Sgd,
    train_locally,
)
from fedunlearn.models import Cnn, GroupNormCnn, Mlp, Network, Transformer
from tests.support.world import Scaled

NETS = {
    "mlp": (Mlp((16,)), (1, 8, 8)),
    "cnn": (Cnn(), (1, 8, 8)),
    "groups": (GroupNormCnn((8, 8, 8), 4), (3, 8, 8)),
    "transformer": (Transformer(8, 2, 1, 8), (6, 3)),
    "buffers": (lambda *_: Scaled(), (1, 8, 8)),
}
WORKS = {
    "momentum": LocalWork(epochs=2, batch_size=9, optimizer=Sgd(0.1, momentum=0.9)),
    "a batch of one": LocalWork(epochs=2, batch_size=7, optimizer=Sgd(0.1)),
    "adam": LocalWork(epochs=2, batch_size=9, optimizer=Adam(0.01)),
    "fedprox": LocalWork(epochs=2, batch_size=9, objective=Proximal(mu=0.5)),
    "clipped": LocalWork(epochs=2, batch_size=9, clip_norm=0.05),
    "weighted": LocalWork(epochs=2, batch_size=9, class_weights="balanced"),
    "squares": LocalWork(epochs=2, batch_size=9, optimizer=DiagonalFisher(0.001)),
    "bounded": LocalWork(epochs=2, batch_size=9, bound=Ball(0.1, 1e6)),
}


def trained(by, work, net="mlp", dtype=torch.float64, network=None):
    """Train one client of 29 records from the same model; return its weights and samples."""
    model, shape = NETS[net]
    network = network or Network(model, shape, 10)
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(29, *shape, generator=drawn).to(dtype)
    labels = torch.randint(0, 10, (29,), generator=drawn)
    start, other = network.initial(1).to(dtype), None
    if work.bound is not None:
        other = start
    rng = np.random.default_rng(3)
    weights, samples = by(network, start, images, labels, work, 2, rng, other)
    assert not torch.equal(weights, start)
    return weights, samples


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("together", [True, False])
def test_equal_to_whole_batches_to_the_last_digits_in_float64(work, together):
    whole, samples = trained(train_locally, work)
    halves, same = trained(Halves(together=together), work)
    torch.testing.assert_close(halves, whole, rtol=1e-12, atol=1e-13)
    assert same == samples


@pytest.mark.parametrize("net", NETS)
def test_equal_to_whole_batches_within_1e_5_for_every_kind_of_net(net):
    whole, _ = trained(train_locally, WORKS["momentum"], net, torch.float32)
    halves, _ = trained(Halves(), WORKS["momentum"], net, torch.float32)
    torch.testing.assert_close(halves, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_one_thread_gives_the_bits_of_two(net):
    two, _ = trained(Halves(together=True), WORKS["momentum"], net, torch.float32)
    one, _ = trained(Halves(together=False), WORKS["momentum"], net, torch.float32)
    assert torch.equal(one, two)


def test_clients_one_after_another_leave_nothing_behind():
    """The second thread looks at the same memory for every client, and at another precision."""
    network, halves = Network(*NETS["cnn"], 10), Halves()
    first, _ = trained(halves, WORKS["momentum"], "cnn", torch.float32, network)
    kept = first.clone()
    trained(halves, WORKS["adam"], "cnn", torch.float64, network)
    again, _ = trained(halves, WORKS["momentum"], "cnn", torch.float32, network)
    assert torch.equal(first, kept)
    assert torch.equal(again, kept)


def test_an_error_in_the_second_half_is_the_client_s_and_the_threads_end():
    class Refusing:
        many = False

        def __call__(self, network, weights, images, labels, sent):
            if threading.current_thread() is not caller:
                raise OSError("no such half")
            return network(weights, images)[:, 0]

    caller = threading.current_thread()
    halves, work = Halves(), copy.copy(WORKS["momentum"])
    object.__setattr__(work, "objective", Refusing())
    with pytest.raises(OSError, match="no such half"):
        trained(halves, work)
    (helper,) = halves._own.helper._threads
    del halves
    gc.collect()  # the traceback held it
    helper.join(timeout=10)
    assert not helper.is_alive()
