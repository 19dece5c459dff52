"""A configuration says who asks when; what cannot be is a sentence before anything is built."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from fedunlearn.checks import Refused
from fedunlearn.data import RandomShare
from fedunlearn.experiment import timeline_hash
from fedunlearn.simulations import configured, guard, plain_values
from fedunlearn.unlearning import Arrival, Batch, Bursts, InBatches, Poisson, Request, batched


@pytest.fixture
def conf():
    with initialize_config_dir(version_base="1.3", config_dir=guard.CONF):
        yield


def composed(*overrides):
    return compose("config", overrides=list(overrides))


def requests(*overrides):
    cfg = composed("training.rounds=20", "partition.clients=9", *overrides)
    return configured.experiment(cfg, {"none": cfg.strategy}).requests


def test_a_stream_is_what_its_arrivals_and_its_policy_come_to(conf):
    made = requests(
        "withdrawal=stream",
        "withdrawal.stream.arrivals.rate=0.3",
        "withdrawal.stream.arrivals.most=4",
        "withdrawal.stream.arrivals.seed=5",
        "withdrawal.stream.policy={batch: 2}",
        "withdrawal.scope={share: 0.5}",
    )
    drawn = Poisson(0.3, most=4, seed=5).drawn(9, 20)
    assert made == batched(drawn, InBatches(2), RandomShare(0.5), 20)
    assert {len(request.clients) for request in made} == {2}


@pytest.mark.parametrize(
    ("policy", "afters"),
    [
        ("immediate", [5, 10, 15]),
        ("{every: 8}", [8, 16]),
        ("{batch: 3}", [15]),
        ("{deadline: 2}", [7, 12, 17]),
    ],
)
def test_every_policy_has_a_word(conf, policy, afters):
    made = requests("withdrawal=bursts", f"withdrawal.stream.policy={policy}")
    assert [request.after for request in made] == afters
    asked = sorted((c, at) for request in made for c, at in request.arrived)
    drawn = Bursts(every=5, size=1, most=3).drawn(9, 20)
    assert asked == sorted((one.client, one.at) for one in drawn)


def test_a_trace_is_read_from_its_file(conf, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("round,client,share\n2.5,3,\n4,1,0.5\n")
    made = requests("withdrawal=trace", f"withdrawal.stream.arrivals.path={path}")
    assert made == (
        Request(frozenset({3}), 3, arrived=((3, 2.5),)),
        Request(frozenset({1}), 4, RandomShare(0.5), ((1, 4.0),)),
    )


def test_other_requests_and_joins_stand_beside_a_stream(conf, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("round,client\n12,3\n")
    cfg = composed(
        "training.rounds=20",
        "withdrawal=trace",
        f"withdrawal.stream.arrivals.path={path}",
        "withdrawal.timeline=[{after: 5, clients: [1]}, {after: 7, join: [1]}]",
    )
    made = configured.experiment(cfg, {"none": cfg.strategy})
    assert [(request.after, set(request.clients)) for request in made.requests] == [
        (5, {1}),
        (12, {3}),
    ]
    assert [(join.after, set(join.clients)) for join in made.joins] == [(7, {1})]


@dataclass(frozen=True)
class Own:
    """Arrivals of a user's own."""

    client: int = 0

    def drawn(self, clients, rounds, names=()):
        return [Arrival(self.client, 1.5)]


@dataclass(frozen=True)
class OwnPolicy:
    """A policy of a user's own."""

    def batches(self, times, rounds):
        return [Batch(rounds, len(times))]


def test_arrivals_and_policies_of_one_s_own_are_named_by_their_class(conf):
    here = __name__
    made = requests(
        "withdrawal=trace",
        "~withdrawal.stream.arrivals",
        f"+withdrawal.stream.arrivals={{_target_: {here}.Own, client: 4}}",
        f"withdrawal.stream.policy={{_target_: {here}.OwnPolicy}}",
    )
    assert made == (Request(frozenset({4}), 20, arrived=((4, 1.5),)),)


REFUSALS = {
    ("withdrawal.stream=soon",): "withdrawal.stream must be null or {arrivals: .* not 'soon'",
    ("withdrawal.stream={arrivals: 3}",): r"withdrawal\.stream must be null or",
    ("withdrawal=stream", "withdrawal.stream.arrivals=often"): (
        r"withdrawal\.stream\.arrivals must be a part with a _target_"
    ),
    ("withdrawal=stream", "withdrawal.stream.policy=later"): (
        r"withdrawal\.stream\.policy must be immediate, \{every: 5\}.* not 'later'"
    ),
    ("withdrawal=stream", "withdrawal.stream.policy={every: 2, batch: 3}"): (
        r"policy must be immediate"
    ),
    ("withdrawal=stream", "withdrawal.stream.policy={every: 0}"): (
        r"withdrawal\.stream\.policy\.every must be a whole number of at least 1, not 0"
    ),
    ("withdrawal=stream", "withdrawal.stream.policy={batch: 1.5}"): r"policy\.batch must be",
    ("withdrawal=stream", "withdrawal.stream.policy={deadline: 0.5}"): (
        r"policy\.deadline must be a number at least 1, not 0\.5"
    ),
    ("withdrawal=stream", "withdrawal.stream.busy=-1"): r"withdrawal\.stream\.busy must be a whole",
    ("withdrawal=stream", "withdrawal.stream.arrivals.rate=0"): (
        r"withdrawal\.stream\.arrivals\.rate must be a number above 0, not 0"
    ),
    ("withdrawal=stream", "withdrawal.stream.arrivals.rate=1e-9"): (
        "bring no request within 24 rounds"
    ),
    ("withdrawal=stream", "withdrawal.stream.arrivals.most=null", "partition.clients=3"): (
        "nobody would remain"
    ),
    ("withdrawal=stream", "withdrawal.clients=[1]"): (
        r"withdrawal\.clients must be null where there is a stream"
    ),
    ("withdrawal=stream", "withdrawal.after=3"): r"withdrawal\.after must be null where there is a",
    ("withdrawal=trace",): r"withdrawal\.stream\.arrivals\.path must be set",
}


@pytest.mark.parametrize("overrides", REFUSALS)
def test_what_no_stream_can_be_is_refused(conf, overrides):
    cfg = composed("training.rounds=24", *overrides)
    for reader in (plain_values.require, configured.experiment):
        with pytest.raises(Refused, match=REFUSALS[overrides]):
            reader(cfg, {"none": cfg.strategy})


def test_a_run_is_built_again_only_with_the_trace_that_it_had(conf, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("round,client\n2.5,3\n")
    cfg = composed("withdrawal=trace", f"withdrawal.stream.arrivals.path={path}")
    strategies = {"none": composed("strategy=none").strategy}
    made = configured.experiment(cfg, strategies)
    cfg.references = 1
    manifest = {
        "config": configured.content(cfg, strategies),
        "timeline_sha256": timeline_hash(made.requests, made.joins),
    }
    run = SimpleNamespace(folder=tmp_path, manifest=manifest)
    assert configured.rebuilt(run).requests == made.requests
    path.write_text("round,client\n2.6,3\n")
    with pytest.raises(Refused, match="its requests are others now"):
        configured.rebuilt(run)
