from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fedunlearn.data import Records
from fedunlearn.evaluators import Snapshot
from fedunlearn.models import Mlp, Network
from tests.support.evaluated import randomly, saying


def test_logits_are_those_of_the_network():
    held = randomly(9, seed=0)
    model = saying({"test": held}, scale=2.0)
    torch.testing.assert_close(model.logits("test"), 2 * held.inputs.flatten(1))
    assert torch.equal(model.labels("test"), held.labels)


def test_logits_are_computed_once():
    model = saying({"test": randomly(9, seed=0)})
    assert model.logits("test") is model.logits("test")


def test_batches_change_nothing():
    network = Network(Mlp(hidden=(8,)), (1, 2, 2), 3)
    images = torch.rand(100, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    sets = {"test": Records(images, torch.zeros(100, dtype=torch.int64))}
    weights = network.initial(1)
    small, large = (
        Snapshot(network, weights, sets, weights, batch_size=size).logits("test")
        for size in (7, 1000)
    )
    torch.testing.assert_close(small, large)


def test_all_sets_go_through_the_net_in_one_pass_of_full_batches():
    network, seen = Network(Mlp(hidden=(8,)), (1, 2, 2), 3), []
    generator = torch.Generator().manual_seed(0)
    sizes = {"test": 25, "forget": 3, "retained/0": 1, "nobody": 0, "retained/1": 13}
    sets = {
        name: Records(torch.rand(n, 1, 2, 2, generator=generator), torch.zeros(n).long())
        for name, n in sizes.items()
    }

    def each(forward, batches):
        for batch in batches:
            seen.append(len(batch))
            yield forward(batch)

    weights = network.initial(1)
    model = Snapshot(network, weights, sets, weights, batch_size=10, each=each)
    for name, records in sets.items():
        torch.testing.assert_close(model.logits(name), network(weights, records.inputs))
    assert seen == [10, 10, 10, 10, 2]


def test_threads_keep_the_order_of_the_records_and_carry_no_gradient():
    sets = {"test": randomly(50, seed=0)}
    with ThreadPoolExecutor(2) as pool:
        threaded = saying(sets, batch_size=7, each=pool.map)
        threaded.weights.requires_grad_()
        torch.testing.assert_close(threaded.logits("test"), saying(sets).logits("test"))
        assert not threaded.logits("test").requires_grad


def test_logits_carry_no_gradient():
    model = saying({"test": randomly(3, seed=0)})
    model.weights.requires_grad_()
    assert not model.logits("test").requires_grad


def test_snapshots_do_not_share_logits():
    sets = {"test": randomly(3, seed=0)}
    one, other = saying(sets, scale=1.0), saying(sets, scale=2.0)
    assert not torch.equal(one.logits("test"), other.logits("test"))


def test_unknown_sets_raise():
    with pytest.raises(KeyError):
        saying({}).logits("test")


def test_what_was_computed_once_is_remembered_by_what_was_asked():
    model, asked = saying({}), []
    for what in ("a", "b", "a"):
        assert (
            model.once(what, lambda what=what: asked.append(what) or what.upper()) == what.upper()
        )
    assert asked == ["a", "b"]
    assert saying({}).once("a", lambda: "another") == "another"


def test_a_sample_is_drawn_alike_for_every_model_and_keeps_the_order():
    held = randomly(500, seed=0)
    held = Records(torch.arange(500.0).view(-1, 1, 1, 1), held.labels)
    one, other = (Snapshot(None, None, {"test": held}, None).sampled("test", 100) for _ in "ab")
    numbers = one.inputs.flatten()
    assert torch.equal(numbers, other.inputs.flatten())
    assert len(one) == 100
    assert (numbers.diff() > 0).all()
    assert torch.equal(one.labels, held.labels[numbers.long()])
    assert 200 < numbers.mean() < 300  # not the first ones: files may be sorted by class


def test_a_small_set_is_taken_whole():
    held = randomly(7, seed=0)
    assert saying({"test": held}).sampled("test", 7) is held
