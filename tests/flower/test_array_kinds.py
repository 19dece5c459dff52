"""Which arrays a wrapped Flower app may have: their types, and what its clients may change."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedunlearn.flower import InProcessGrid
from fedunlearn.flower.unlearning_strategy import Unlearning
from fedunlearn.unlearning import ClientFailed
from strategies.retrain import Retrain

CLIENTS = 3


def app(changing=None):
    """Every client adds its number to every array of floating point, in the type that it got."""
    built, seen = ClientApp(), []

    @built.train()
    def train(message, context):
        client = context.node_config["partition-id"]
        got = {name: array.numpy() for name, array in message.content["arrays"].items()}
        seen.append({name: array.dtype for name, array in got.items()})
        learnt = {
            name: array + np.asarray(client, array.dtype)
            if array.dtype.kind == "f" or (client == 1 and name == changing)
            else array
            for name, array in got.items()
        }
        content = {
            "arrays": ArrayRecord({name: Array(array) for name, array in learnt.items()}),
            "metrics": MetricRecord({"num-examples": 1, "partition-id": client}),
        }
        return Message(RecordDict(content), reply_to=message)

    return built, seen


def run(named, changing=None):
    built, seen = app(changing)
    grid = InProcessGrid(built, CLIENTS, workers=1)
    strategy = FedAvg(fraction_evaluate=0.0)
    try:
        initial = ArrayRecord({name: Array(array) for name, array in named.items()})
        unlearning = Unlearning(strategy, Retrain(), {2: [2]}, clients=CLIENTS)
        return unlearning.start(grid, initial, num_rounds=2), seen
    finally:
        grid.close()


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_arrays_come_back_in_their_own_type_with_integers_as_they_were(kind):
    named = {
        "steps": np.array([3, 1, 2]),
        "weight": np.zeros((2, 2), kind),
        "mask": np.array([True, False]),
        "bias": np.ones(2, "float32"),
    }
    result, seen = run(named)
    kinds = {name: array.dtype for name, array in named.items()}
    assert all(got == kinds for got in seen)
    arrays = {name: array.numpy() for name, array in result.arrays.items()}
    assert list(arrays) == list(named)
    assert {name: array.dtype for name, array in arrays.items()} == kinds
    # Retrained without client 2: two rounds, each of which adds the mean of 0 and 1.
    np.testing.assert_array_equal(arrays["weight"], np.full((2, 2), 1.0))
    np.testing.assert_array_equal(arrays["bias"], np.full(2, 2.0))
    np.testing.assert_array_equal(arrays["steps"], named["steps"])
    np.testing.assert_array_equal(arrays["mask"], named["mask"])


def test_a_client_that_changes_integers_is_refused_by_name():
    sentence = r"client 1, sent a reply .* it changed the array steps, which is torch\.int64"
    with pytest.raises(ClientFailed, match=sentence):
        run({"steps": np.array([3]), "weight": np.zeros(2)}, changing="steps")
