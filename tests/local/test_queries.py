"""Sums over records: what each query adds up, for one client and for many, and what travels."""

import pytest
import torch
from torch.nn import functional

from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards, build_federation
from fedunlearn.flower import InProcessGrid, Local, build_client_app, handshake
from fedunlearn.local import (
    CrossEntropy,
    FeatureMoments,
    Gradient,
    LabelCounts,
    LogitSums,
    RidgeSums,
    ScoreHistogram,
    SquaredGradients,
)
from fedunlearn.models import Mlp, Network
from fedunlearn.unlearning import Ledger, Training
from tests.support.grid_clients import scenario_clients
from tests.support.small_federation import SMALL
from tests.support.world import Scaled, World, without_leavers

QUERIES = [
    Gradient(),
    SquaredGradients(),
    SquaredGradients(batch_size=4),
    FeatureMoments(),
    LogitSums(),
    LabelCounts(),
    ScoreHistogram(),
    RidgeSums(),
]
SIZES = (5, 1, 12)


@pytest.fixture(scope="module")
def network():
    return Network(Mlp((9,)), (1, 8, 8), 4)


@pytest.fixture(scope="module")
def shards():
    torch.manual_seed(0)
    return Shards.of(
        [Records(torch.rand(n, 1, 8, 8), torch.randint(4, (n,))) for n in SIZES],
    )


def asked(query, network, shards, clients=(0, 1, 2)):
    return query.sums(network, network.initial(2), shards, clients)


def one(sums):
    return {name: each[0] for name, each in sums.items()}


@pytest.mark.parametrize("query", QUERIES, ids=repr)
class TestEveryQuery:
    def test_many_clients_get_what_each_gets_alone(self, query, network, shards):
        together = asked(query, network, shards, (2, 0, 1))
        for row, client in enumerate((2, 0, 1)):
            for name, alone in asked(query, network, shards, (client,)).items():
                torch.testing.assert_close(together[name][row], alone[0], rtol=1e-5, atol=1e-6)

    def test_records_add_up(self, query, network, shards):
        if query == SquaredGradients(batch_size=4):
            pytest.skip("batches of one client are not those of two")
        joined = Shards.of([Records.joined([shards[0], shards[2]])])
        apart, whole = asked(query, network, shards, (0, 2)), asked(query, network, joined, (0,))
        for name, total in whole.items():
            torch.testing.assert_close(apart[name].sum(0), total[0], rtol=1e-5, atol=1e-6)

    def test_no_size_depends_on_the_records(self, query, network, shards):
        forms = query.forms(network)
        for client in range(len(SIZES)):
            sums = asked(query, network, shards, (client,))
            assert sums.keys() == forms.keys()
            for name, (shape, dtype) in forms.items():
                assert sums[name].shape == (1, *shape)
                assert sums[name].dtype == getattr(torch, dtype)

    def test_true_sums_have_no_fault_and_miscounted_ones_do(self, query, network, shards):
        sums = {name: each[0] for name, each in asked(query, network, shards, (2,)).items()}
        assert query.fault(sums, SIZES[2]) == ""
        if "count" in sums:
            assert "records" in query.fault(sums, SIZES[2] + 1)
            assert "whole numbers" in query.fault({**sums, "count": sums["count"] + 0.5}, SIZES[2])


class TestGradient:
    def test_is_that_of_the_summed_loss(self, network, shards):
        weights = network.initial(2).requires_grad_()
        held = shards[2]
        loss = functional.cross_entropy(network(weights, held.inputs), held.labels, reduction="sum")
        (expected,) = torch.autograd.grad(loss, weights)
        found = asked(Gradient(), network, shards, (2,))["gradient"][0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    def test_squares_are_those_of_single_records_and_not_of_the_mean(self, network, shards):
        """Public code squares the gradient of a batch's mean and calls it Fisher information."""
        singles = [
            asked(Gradient(), network, Shards.of([shards[2].take(torch.tensor([i]))]), (0,))
            for i in range(SIZES[2])
        ]
        expected = sum(single["gradient"][0].square() for single in singles)
        found = asked(SquaredGradients(), network, shards, (2,))["square"][0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        batched = asked(SquaredGradients(batch_size=4), network, shards, (2,))["square"][0]
        assert batched.sum() < found.sum() / 2

    def test_buffers_have_none(self):
        network = Network(lambda shape, classes: Scaled(), (1, 8, 8), 10)
        shards = Shards.of([Records(torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))])
        for query in (Gradient(), SquaredGradients()):
            total, _ = query.sums(network, network.initial(0), shards, (0,)).values()
            fixed = total[0, network.layout.parameters.stop :]
            assert len(fixed) == 64
            assert not fixed.any()


class TestMomentsAndCounts:
    def test_moments_are_those_of_the_features_by_class(self, network, shards):
        weights, held = network.initial(2), shards[2]
        features = network.features(weights, held.inputs).double()
        found = one(asked(FeatureMoments(), network, shards, (2,)))
        for label in range(4):
            own = features[held.labels == label]
            assert found["count"][label] == len(own)
            torch.testing.assert_close(found["sum"][label], own.sum(0))
            torch.testing.assert_close(found["square"][label], own.square().sum())

    def test_squares_below_what_their_sums_allow_are_a_fault(self, network, shards):
        found = one(asked(FeatureMoments(), network, shards, (2,)))
        assert "squares" in FeatureMoments().fault({**found, "square": found["square"] * 0.1}, 12)

    def test_a_histogram_counts_on_both_sides_of_an_edge(self, network, shards):
        weights, held = network.initial(2), shards[2]
        probabilities = network(weights, held.inputs).softmax(1)
        confidence = probabilities[torch.arange(12), held.labels]
        edge = float(confidence.sort().values[5:7].mean())
        found = asked(ScoreHistogram(edges=(edge,)), network, shards, (2,))["count"][0]
        assert found.tolist() == [6, 6]
        right = asked(ScoreHistogram("correct", (0.5,)), network, shards, (2,))["count"][0]
        assert right[1] == (probabilities.argmax(1) == held.labels).sum()

    @pytest.mark.parametrize("edges", [(), (0.5, 0.5), (0.6, 0.1)], ids=str)
    def test_edges_out_of_order_are_refused(self, edges):
        with pytest.raises(Refused, match=r"ScoreHistogram\.edges"):
            ScoreHistogram(edges=edges)
        with pytest.raises(Refused, match="score"):
            ScoreHistogram(score="confidance")


@pytest.fixture
def clients():
    """Four clients of digits, one by one and as one batch."""
    ledger = Ledger()
    grid = InProcessGrid(build_client_app(SMALL), 4, 2)
    yield scenario_clients(handshake(grid, 4), Training(), SMALL, ledger)
    grid.close()


class TestMessages:
    @pytest.mark.parametrize("query", QUERIES, ids=repr)
    def test_a_query_costs_a_model_down_its_sums_up_and_a_pass(self, clients, query):
        weights = clients.channel.proxy.network.initial(1)
        answers = clients.query(weights, query, [0, 3], round=1)
        assert list(answers) == [0, 3]
        for charge in clients.ledger.charges:
            assert charge.bytes_down == weights.nbytes
            assert charge.bytes_up == sum(s.nbytes for s in answers[charge.client].values())
            assert charge.samples == charge.records

    def test_clients_of_other_sizes_send_as_many_numbers(self, clients):
        weights = clients.channel.proxy.network.initial(1)
        for query in QUERIES:
            answers = clients.query(weights, query, round=1)
            assert len({c.records for c in clients.ledger.charges}) > 1
            shapes = {tuple((n, s.shape) for n, s in each.items()) for each in answers.values()}
            assert len(shapes) == 1

    def test_who_left_is_not_asked_and_leavers_only_where_declared(self):
        world = World()
        with world.open() as everybody:
            clients = without_leavers(everybody, [2])
            weights = world.start.history.initial
            assert list(clients.query(weights, LabelCounts(), round=6)) == [0, 1, 3]
            with pytest.raises(PermissionError, match=r"Clients \[2\] may not be asked"):
                clients.query(weights, LabelCounts(), [2], round=6)
            with pytest.raises(PermissionError, match="leaver=True"):
                _ = clients.leavers

    def test_one_pass_for_all_is_what_each_answers(self, clients):
        network, weights = clients.channel.proxy.network, clients.channel.proxy.network.initial(1)
        for query in (FeatureMoments(), Gradient(CrossEntropy(0.1))):
            answers = clients.query(weights, query, round=1)
            together = query.sums(network, weights, build_federation(SMALL).train, range(4))
            for client, sums in answers.items():
                for name, own in sums.items():
                    torch.testing.assert_close(together[name][client], own, rtol=1e-5, atol=1e-5)


def test_no_client_s_answer_keeps_another_s_in_memory(clients):
    """The store purges a leaver's sums; those of others must not hold its numbers beside theirs."""
    weights, found = clients.channel.proxy.network.initial(1), {}

    def job(connection):
        together = scenario_clients(connection, Training(), SMALL)
        found.update(together.query(weights, RidgeSums(), round=1))

    Local(mode="cohort").run(SMALL, job)
    for sums in found.values():
        for tensor in sums.values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
