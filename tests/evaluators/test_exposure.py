from dataclasses import replace

import pytest

from fedunlearn.checks import Refused
from fedunlearn.data import WithLabels, build_federation
from fedunlearn.evaluators import Exposure
from fedunlearn.evaluators.scores import auc, losses
from fedunlearn.unlearning import Join, Request
from strategies.none import Nothing
from tests.support.evaluated import hits, randomly, records, saying
from tests.support.small_experiment import SMALL

SETS = {f"retained/{k}": randomly(30, seed=k) for k in range(10)}
MEMBERS = {f"members/{k}": randomly(40, seed=100 + k) for k in range(10)}


def area(client, scale=1.0):
    model = saying({"a": MEMBERS[f"members/{client}"], "b": SETS[f"retained/{client}"]}, scale)
    members, others = (losses(model.logits(name), model.labels(name)) for name in "ab")
    return auc(-members, -others)


def test_both_areas_are_means_over_clients():
    values = Exposure(share=0.3)(saying(SETS, further=lambda: MEMBERS), None)
    areas = [area(client) for client in range(10)]
    assert [values[f"retained_membership_auc/{k}"] for k in range(10)] == pytest.approx(areas)
    assert values["retained_membership_auc"] == pytest.approx(sum(areas) / 10)
    assert values["exposed_membership_auc"] == pytest.approx(sum(sorted(areas)[-3:]) / 3)


def test_the_most_exposed_are_those_of_the_model_before():
    before = saying(SETS, scale=1.0, further=lambda: MEMBERS)
    after = replace(saying(SETS, scale=-1.0, further=lambda: MEMBERS), original=before)
    top = max(range(10), key=area)
    values = Exposure(share=0.1)(after, None)
    assert values["exposed_membership_auc"] == pytest.approx(area(top, scale=-1.0))
    assert area(top, scale=-1.0) != max(area(client, scale=-1.0) for client in range(10))


def test_known_by_heart_is_one_and_nothing_told_is_a_half():
    sets = {"retained/3": hits(0, 8)}
    known = saying(sets, further=lambda: {"members/3": hits(8, 0)})
    assert Exposure()(known, None)["retained_membership_auc"] == 1
    alike = saying(sets, further=lambda: {"members/3": hits(0, 8)})
    assert Exposure()(alike, None)["retained_membership_auc"] == 0.5


def test_who_holds_nothing_out_does_not_count():
    nobody = saying({"retained/1": records([], [])}, further=lambda: {"members/1": hits(1, 1)})
    assert Exposure()(nobody, None) == {}
    assert Exposure()(saying({"test": hits(1, 1)}), None) == {}


def test_only_so_many_records_are_looked_at():
    model = saying(SETS, further=lambda: MEMBERS)
    assert {len(labels) for _, labels in model.looked_further(7).values()} == {7}


def test_members_are_what_those_who_remain_keep():
    requests = (Request(frozenset({1}), 2), Request(frozenset({0, 2, 3}), 3, WithLabels((0,))))
    joins = (Join(frozenset({3}), 2),)
    experiment = replace(SMALL, requests=requests, joins=joins, strategies={"none": Nothing()})
    federation = build_federation(experiment.scenario(0))
    assert set(federation.member_sets(1)) == {"members/0", "members/2"}
    sets = federation.member_sets(2)
    assert set(sets) == {"members/0", "members/2", "members/3"}
    assert all((held.labels != 0).all() for held in sets.values())


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.1}, {"records": 0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(Refused, match=r"Exposure\.(share|records)"):
        Exposure(**wrong)
