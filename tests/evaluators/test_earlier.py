from dataclasses import replace

import pytest

from fedunlearn.data import Backdoor, RandomShare, build_federation
from fedunlearn.evaluators import Earlier
from fedunlearn.unlearning import Join, Request, changes
from strategies.none import Nothing
from tests.support.evaluated import hits, records, saying
from tests.support.small_experiment import SMALL

UNTOUCHED = {"none": Nothing()}


def test_each_earlier_request_counts_once():
    sets = {
        "forget": hits(1, 0),
        "earlier/1": hits(3, 1),
        "earlier/2": hits(1, 3),
        "earlier_triggered/2": hits(1, 1),
    }
    assert Earlier()(saying(sets), None) == {
        "earlier_accuracy": 0.5,
        "earlier_accuracy/1": 0.75,
        "earlier_accuracy/2": 0.25,
        "earlier_attack_success_rate": 0.5,
        "earlier_attack_success_rate/2": 0.5,
    }


def test_a_first_request_has_none_before_it():
    sets = {"forget": hits(1, 0), "earlier/1": records([], [])}
    assert Earlier()(saying(sets), None) == {}


def sets_of(requests, joins=(), number=None):
    experiment = replace(SMALL, requests=tuple(requests), joins=tuple(joins), strategies=UNTOUCHED)
    federation = build_federation(experiment.scenario(0))
    assert changes(experiment.requests, experiment.joins) == federation.scenario.changes
    return federation, federation.request_sets(number or len(requests))


def test_the_sets_are_what_earlier_requests_took_with_their_probes():
    federation, sets = sets_of([Request(frozenset({1}), 2), Request(frozenset({2}), 4)])
    assert len(sets["earlier/1"]) == len(federation.train[1])
    orders = [federation.scenario.leavers.index(1)]
    triggered = Backdoor().sets(federation.dataset, orders)["triggered"]
    assert sets["earlier_triggered/1"].inputs.equal(triggered.inputs)
    assert not [name for name in sets if name.endswith("/2") and name.startswith("earlier")]
    assert not [n for n in federation.request_sets(1) if n.startswith("earlier")]


def test_what_was_brought_back_is_not_to_be_forgotten():
    requests = [Request(frozenset({1}), 1), Request(frozenset({2}), 4)]
    _, sets = sets_of(requests, [Join(frozenset({1}), 2)])
    assert not [name for name in sets if name.startswith("earlier")]
    federation, sets = sets_of(requests, [Join(frozenset({1}), 2, RandomShare(0.5))])
    assert len(sets["earlier/1"]) == len(federation.train[1]) - round(len(federation.train[1]) / 2)
    assert "earlier_triggered/1" not in sets  # it is there again, with a part of its probe


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_part_that_was_erased_stays_to_be_forgotten(share):
    requests = [Request(frozenset({1}), 2, RandomShare(share)), Request(frozenset({2}), 4)]
    federation, sets = sets_of(requests)
    assert len(sets["earlier/1"]) == round(share * len(federation.train[1]))
    assert ("earlier_triggered/1" in sets) == (share == 1)
