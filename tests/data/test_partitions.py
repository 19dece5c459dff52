import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import Dirichlet, Iid, Pathological, QuantitySkew, SortedShards
from fedunlearn.data.parts import label_counts

LABELS = np.random.default_rng(5).integers(0, 10, 1000)
ALL = (Iid(), Dirichlet(), Pathological(), SortedShards(), QuantitySkew())


def rng(seed=0):
    return np.random.default_rng(seed)


def sizes(parts):
    return np.array([len(part) for part in parts])


def assert_divides(parts, records, clients, minimum):
    assert len(parts) == clients
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(records))
    for part in parts:
        assert part.dtype == np.int64
        assert len(part) >= minimum
        assert (np.diff(part) > 0).all()


labels = st.builds(
    lambda classes, records, seed: rng(seed).permutation(np.arange(records) % classes),
    st.integers(1, 12),
    st.integers(100, 300),
    st.integers(0, 99),
)


@given(labels, st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_iid_divides_equally(labels, clients, minimum, seed):
    parts = Iid(clients, minimum)(labels, rng(seed))
    assert_divides(parts, len(labels), clients, minimum)
    assert np.ptp(sizes(parts)) <= 1


@given(labels, st.integers(1, 8), st.floats(0.5, 100), st.integers(1, 3), st.integers(0, 99))
def test_dirichlet_divides(labels, clients, alpha, minimum, seed):
    parts = Dirichlet(clients, alpha, minimum)(labels, rng(seed))
    assert_divides(parts, len(labels), clients, minimum)


@given(labels, st.integers(1, 5), st.floats(0.5, 100), st.integers(1, 3), st.integers(0, 99))
def test_quantity_skew_divides(labels, clients, alpha, minimum, seed):
    parts = QuantitySkew(clients, alpha, minimum)(labels, rng(seed))
    assert_divides(parts, len(labels), clients, minimum)


@given(labels, st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_shards_divide(labels, clients, shards, seed):
    parts = SortedShards(clients, shards, minimum=1)(labels, rng(seed))
    assert_divides(parts, len(labels), clients, 1)
    assert np.ptp(sizes(parts)) <= shards


@given(st.data(), labels, st.integers(0, 99))
def test_pathological_gives_exactly_so_many_classes(data, labels, seed):
    present = len(np.unique(labels))
    classes = data.draw(st.integers(1, present))
    fewest = -(-present // classes)
    clients = data.draw(st.integers(fewest, fewest + 6))
    parts = Pathological(clients, classes, minimum=1)(labels, rng(seed))
    assert_divides(parts, len(labels), clients, 1)
    held = label_counts(labels, parts, present) > 0
    np.testing.assert_array_equal(held.sum(axis=1), classes)
    holders = held.sum(axis=0)
    assert holders.min() >= 1
    assert np.ptp(holders) <= 1


@pytest.mark.parametrize("partition", ALL, ids=lambda p: type(p).__name__)
def test_all_chance_is_in_the_generator(partition):
    once, again, other = (partition(LABELS, rng(seed)) for seed in (1, 1, 2))
    assert all(map(np.array_equal, once, again))
    assert not all(map(np.array_equal, once, other))
    np.random.seed(0)  # noqa: NPY002 (the global generator must not matter)
    assert all(map(np.array_equal, once, partition(LABELS, rng(1))))


@pytest.mark.parametrize("partition", ALL, ids=lambda p: type(p).__name__)
def test_names_of_classes_do_not_matter(partition):
    plain = partition(LABELS, rng())
    spread = partition(3 * LABELS + 7, rng())
    assert all(map(np.array_equal, plain, spread))


@pytest.mark.parametrize("partition", ALL, ids=lambda p: type(p).__name__)
def test_partitions_are_hashable_values(partition):
    assert hash(partition) == hash(dataclasses.replace(partition))


@pytest.mark.parametrize("partition", ALL, ids=lambda p: type(p).__name__)
def test_more_minimum_than_records_is_refused(partition):
    with pytest.raises(Refused, match=r"partition\.clients=5 times partition\.minimum=201"):
        dataclasses.replace(partition, minimum=201)(LABELS, rng())


def test_dirichlet_has_the_mean_and_variance_of_its_distribution():
    # Of N clients, a share has mean 1/N and variance (N - 1) / (N^2 (N alpha + 1)).
    clients, alpha, each, classes = 4, 0.7, 1000, 500
    labels = np.repeat(np.arange(classes), each)
    parts = Dirichlet(clients, alpha, minimum=1)(labels, rng())
    shares = label_counts(labels, parts, classes) / each
    variance = (clients - 1) / clients**2 / (clients * alpha + 1)
    np.testing.assert_allclose(shares.mean(axis=1), 1 / clients, atol=0.05)
    np.testing.assert_allclose(shares.var(), variance, rtol=0.1)


def test_small_alpha_concentrates_and_large_alpha_evens_out():
    labels = np.repeat(np.arange(50), 200)

    def largest_share(alpha):
        counts = label_counts(labels, Dirichlet(5, alpha, 1)(labels, rng()), 50)
        return (counts.max(axis=0) / 200).mean()

    alphas = (0.01, 0.1, 1, 10, 1e6)
    shares = [largest_share(alpha) for alpha in alphas]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.95
    assert shares[-1] == pytest.approx(1 / 5, abs=0.01)


def test_dirichlet_minimum_selects_draws_and_does_not_repair_them():
    # Wherever a draw without a minimum meets it, the minimum changes nothing.
    agreed = 0
    for seed in range(30):
        free = Dirichlet(4, 0.3, minimum=1)(LABELS, rng(seed))
        bound = Dirichlet(4, 0.3, minimum=150)(LABELS, rng(seed))
        assert sizes(bound).min() >= 150
        if sizes(free).min() >= 150:
            assert all(map(np.array_equal, free, bound))
            agreed += 1
    assert 0 < agreed < 30


def test_dirichlet_refuses_a_minimum_out_of_reach():
    with pytest.raises(Refused, match=r"partition\.alpha=0\.01 for partition\.clients=90"):
        Dirichlet(90, 0.01)(LABELS, rng())


def test_quantity_skew_skews_sizes_and_not_labels():
    labels = np.arange(100_000) % 10
    parts = QuantitySkew(5, 0.5, minimum=1000)(labels, rng())
    assert sizes(parts).max() > 2 * sizes(parts).min()
    shares = label_counts(labels, parts, 10) / sizes(parts)[:, None]
    np.testing.assert_allclose(shares, 0.1, atol=0.04)


def test_quantity_skew_tends_to_equal_sizes():
    np.testing.assert_allclose(sizes(QuantitySkew(5, 1e8)(LABELS, rng())), 200, atol=1)


def test_shards_hold_few_classes():
    labels = rng().permutation(np.repeat(np.arange(10), 100))
    parts = SortedShards(clients=10, shards=2)(labels, rng())
    counts = label_counts(labels, parts, 10)
    assert set(np.unique(counts)) <= {0, 50, 100}  # twenty shards of 50: two to a class
    np.testing.assert_array_equal(sizes(parts), 100)


def test_shards_do_not_follow_the_order_of_records():
    # Which records of a class share a shard is chance, not their place in the file.
    parts = SortedShards(clients=2, shards=1)(np.zeros(100, np.int64), rng())
    assert 15 < (parts[0] < 50).sum() < 35


def test_pathological_holders_share_equally():
    labels = np.repeat(np.arange(4), (100, 101, 102, 103))
    counts = label_counts(labels, Pathological(6, 2)(labels, rng()), 4)
    for column in counts.T:
        assert np.ptp(column[column > 0]) <= 1


def test_every_client_is_alike():
    # Over many seeds no client is favoured: 500 draws put the mean share within 3 sigma of 1/4.
    for partition in (Dirichlet(4, 1, 1), QuantitySkew(4, 1, 1), Pathological(4, 1, 1)):
        labels = np.repeat(np.arange(3), (10, 30, 80))
        held = np.array([sizes(partition(labels, rng(seed))) for seed in range(500)])
        error = held.std(axis=0) / np.sqrt(len(held))
        assert (np.abs(held.mean(axis=0) - 30) < 3 * error).all(), partition


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Iid(clients=0), r"Iid\.clients must be a whole number of at least 1"),
        (lambda: Iid(minimum=0), r"Iid\.minimum must be a whole number"),
        (lambda: Dirichlet(alpha=0), r"Dirichlet\.alpha must be a number above 0"),
        (lambda: Dirichlet(alpha=float("nan")), r"Dirichlet\.alpha"),
        (lambda: QuantitySkew(alpha=-1.0), r"QuantitySkew\.alpha must be a number above 0"),
        (lambda: Pathological(classes=0), r"Pathological\.classes must be a whole number"),
        (lambda: SortedShards(shards=1.5), r"SortedShards\.shards must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(make, message):
    with pytest.raises(Refused, match=message):
        make()


@pytest.mark.parametrize(
    ("partition", "labels", "message"),
    [
        (Pathological(classes=11), LABELS, r"partition\.classes=11 is more than the 10 classes"),
        (Pathological(4, 2), LABELS, r"partition\.clients=4 with .*without a holder"),
        (Pathological(9, 1, 1), np.repeat([0, 1], (3, 97)), r"A class has 3 records.*5 clients"),
        (Pathological(4, 1, 20), np.repeat([0, 1], (30, 970)), r"partition\.classes=1 for"),
        (SortedShards(clients=500, shards=3, minimum=1), LABELS, r"a shard would be empty"),
        (SortedShards(3, 7, 33), np.zeros(100, np.int64), r"Client \d would hold 3[12] records"),
    ],
)
def test_what_the_labels_do_not_allow_is_refused(partition, labels, message):
    with pytest.raises(Refused, match=message):
        partition(labels, rng())
