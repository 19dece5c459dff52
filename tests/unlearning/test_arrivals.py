"""Requests come as often as they should, from clients who ask once, or as a file says."""

import math

import numpy as np
import pytest

from fedunlearn.checks import Refused
from fedunlearn.data import RandomShare, WithLabels
from fedunlearn.unlearning import Arrival, Bursts, Poisson, Trace

RANDOM = {
    "poisson": lambda seed, most=None: Poisson(rate=0.8, most=most, seed=seed),
    "bursts": lambda seed, most=None: Bursts(every=3, size=4, most=most, seed=seed),
}


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.5])
def test_as_many_come_on_average_as_the_rate_says(rate):
    rounds, seeds = 12, 400
    counts = [len(Poisson(rate, seed=seed).drawn(10**4, rounds)) for seed in range(seeds)]
    expected = rate * rounds
    assert abs(np.mean(counts) - expected) < 4 * math.sqrt(expected / seeds)
    spread = 4 * expected * math.sqrt(2 / seeds + 1 / (expected * seeds))  # of a Poisson variance
    assert abs(np.var(counts, ddof=1) - expected) < spread


def test_requests_of_a_poisson_process_fall_anywhere_in_training():
    times = [one.at for seed in range(400) for one in Poisson(seed=seed).drawn(10**4, 10)]
    counts = np.bincount(np.floor(times).astype(int), minlength=10)
    assert (abs(counts - 400) < 4 * math.sqrt(400)).all()


def test_every_client_is_as_likely_to_ask():
    seeds, clients = 1000, 8
    asked = [one.client for s in range(seeds) for one in Bursts(1, 2, seed=s).drawn(clients, 1)]
    share = 2 / clients
    counts = np.bincount(asked, minlength=clients)
    assert (abs(counts - share * seeds) < 4 * math.sqrt(seeds * share * (1 - share))).all()


def test_bursts_come_at_the_end_of_every_so_many_rounds():
    arrivals = Bursts(every=4, size=3).drawn(100, 14)
    assert [one.at for one in arrivals] == [4.0] * 3 + [8.0] * 3 + [12.0] * 3


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("clients", [1, 5, 50])
def test_nobody_asks_twice_and_all_within_training(kind, clients):
    for seed in range(20):
        arrivals = RANDOM[kind](seed).drawn(clients, 40)
        asked = [one.client for one in arrivals]
        assert len(set(asked)) == len(asked) <= clients
        assert set(asked) <= set(range(clients))
        assert all(0 < one.at <= 40 for one in arrivals)
        assert [one.at for one in arrivals] == sorted(one.at for one in arrivals)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_stream_is_a_function_of_its_seed(kind):
    assert RANDOM[kind](3).drawn(40, 30) == RANDOM[kind](3).drawn(40, 30)
    assert RANDOM[kind](3).drawn(40, 30) != RANDOM[kind](4).drawn(40, 30)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_limit_cuts_a_stream_and_a_longer_training_goes_on_with_it(kind):
    whole = RANDOM[kind](0).drawn(40, 30)
    assert RANDOM[kind](0, most=5).drawn(40, 30) == whole[:5]
    short = RANDOM[kind](0).drawn(40, 15)
    assert whole[: len(short)] == short


def test_a_request_comes_in_the_round_that_is_then_under_way():
    assert [Arrival(0, at).round for at in (0.0, 0.2, 1.0, 1.5, 2.0)] == [1, 1, 1, 2, 2]


def trace(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return Trace(str(path))


def test_a_trace_is_read_as_it_stands(tmp_path):
    text = "client,round,labels,share\n3,7,,\n1,2.5,,0.2\n\n 2 , 7 ,3+7,\n"
    assert trace(tmp_path, text).drawn(4, 8) == [
        Arrival(1, 2.5, RandomShare(0.2)),
        Arrival(3, 7.0),
        Arrival(2, 7.0, WithLabels((3, 7))),
    ]


def test_a_trace_calls_clients_by_their_owners_names(tmp_path):
    arrivals = trace(tmp_path, "round,client\n1,north\n2,south\n").drawn(2, 3, ("south", "north"))
    assert [one.client for one in arrivals] == [1, 0]
    with pytest.raises(Refused, match=r"line 2: client 'nort' is nobody; did you mean north\?"):
        trace(tmp_path, "round,client\n1,nort\n").drawn(2, 3, ("south", "north"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: a trace has the columns round and client"),
        ("round,who\n1,2\n", "line 1: a trace has the columns round and client.*not 'round, who'"),
        ("round,client,round\n", "line 1: a trace has"),
        ("round,client\n1,2\n3\n", "line 3: there are 1 cells, but 2 columns"),
        ("round,client\nsoon,2\n", "line 2: round must be a number, not 'soon'"),
        ("round,client\nnan,2\n", "line 2: round must be a number, not 'nan'"),
        ("round,client\n0,2\n", r"line 2: round 0 lies outside training: rounds are 1 to 8"),
        ("round,client\n1,1\n8.5,2\n", "line 3: round 8.5 lies outside training"),
        ("round,client\n1,4\n", "line 2: client '4' is nobody: the federation has clients 0 to 3"),
        ("round,client\n1,-1\n", "line 2: client '-1' is nobody"),
        ("round,client\n1,2\n\n3,2\n", "line 4: client 2 asked in line 2 already"),
        ("round,client,share\n1,2,most\n", "line 2: share must be a number, not 'most'"),
        ("round,client,share\n1,2,1.5\n", "line 2: .*share must be a number at least 0 and at"),
        ("round,client,labels\n1,2,cat\n", "line 2: labels must be classes counted from 0"),
        ("round,client,labels\n1,2,3+3\n", "line 2: scope.labels must list .* each once"),
        ("round,client,share,labels\n1,2,0.5,3\n", "line 2: .* not about both"),
        ('round,client\n"1,2\n', "cannot be read as a CSV file"),
    ],
)
def test_a_trace_that_says_what_cannot_be_is_refused_by_line(tmp_path, text, sentence):
    with pytest.raises(Refused, match=sentence):
        trace(tmp_path, text).drawn(4, 8)


def test_a_trace_needs_its_file(tmp_path):
    with pytest.raises(Refused, match="path must be set"):
        Trace().drawn(4, 8)
    with pytest.raises(Refused, match=r"none\.csv cannot be read as a CSV file: No such file"):
        Trace(str(tmp_path / "none.csv")).drawn(4, 8)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: Poisson(rate=0), "rate must be a number above 0"),
        (lambda: Poisson(most=0), "most must be a whole number of at least 1"),
        (lambda: Bursts(every=0), "every must be"),
        (lambda: Bursts(size=1.5), "size must be a whole number"),
        (lambda: Bursts(seed=-1), "seed must be"),
    ],
)
def test_fields_are_held_to_their_ranges(made, sentence):
    with pytest.raises(Refused, match=sentence):
        made()
