"""The six proxies of memorization: what each one is, and to which side it points."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedunlearn.attacks import proxies
from fedunlearn.attacks.proxies import SIGNS, VISITS, curvature, rising, symmetric_divergence
from fedunlearn.attacks.subset_banks import WHOLE, Ground
from fedunlearn.attacks.training_bank import train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import Digits, Iid, NoPlanting, Scenario, build_federation
from fedunlearn.flower import Local
from fedunlearn.local import DiagonalFisher, LocalWork, Sgd, Straggling
from fedunlearn.models import Gru, Mlp, Network
from fedunlearn.unlearning import Training
from tests.support.record_kinds import Synthetic

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = Scenario(Digits(), Iid(clients=4), NoPlanting(), Mlp((8,)), (), 3)
WHOLE_BATCHES = Training(rounds=3, work=LocalWork(1, batch_size=10_000, optimizer=Sgd(0.5)))


def ground(training, scenario=SMALL):
    return Ground.of(build_federation(scenario), Local(mode="cohort").trainer(scenario), training)


def found(training, scenario=SMALL):
    return proxies.watched(ground(training, scenario), lambda trained: None).proxies


def test_visits_of_whole_batches_are_looks_at_the_models_that_were_sent():
    here = ground(WHOLE_BATCHES)
    member = here.member(WHOLE, 0, here.present)
    labels, rows = here.records.labels, []
    for number in range(3):
        (sent,) = train_bank([member], here.trainer, WHOLE_BATCHES, number)
        p = here.federation.network(sent, here.records.inputs).detach().double().softmax(dim=1)
        right = (p.argmax(dim=1) == labels).double()
        own = p.gather(1, labels[:, None]).squeeze(1)
        rows.append(torch.stack([own, p.amax(dim=1), (p * p.log()).sum(dim=1), right]))
    mine = proxies.watched(here, lambda trained: None).proxies
    for name, wanted in zip(VISITS, torch.stack(rows).mean(dim=0), strict=True):
        np.testing.assert_allclose(mine[name], wanted.numpy(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("straggling", [None, Straggling(0.9)])
def test_watching_changes_nothing_and_every_visit_is_counted(straggling):
    training = Training(
        rounds=2, dropout=0.2, work=LocalWork(2, batch_size=16, straggling=straggling)
    )
    here = ground(training)
    watching = proxies._Watching.over(here)
    member = here.member(WHOLE, 0, here.present)
    (mine,) = train_bank([member], watching, training, 2)
    (ordinary,) = train_bank([member], here.trainer, training, 2)
    torch.testing.assert_close(mine, ordinary, rtol=1e-5, atol=1e-5)
    assert watching.seen.max() <= 4
    if straggling is None:
        assert set(watching.seen.tolist()) <= {0.0, 2.0, 4.0}
    else:
        assert {1.0, 3.0} & set(watching.seen.tolist())


def test_who_is_never_asked_has_no_proxy_of_its_visits():
    training = Training(rounds=1, cohort=0.5, work=LocalWork(1))
    mine, here = found(training), ground(training)
    for name in (*VISITS, "curvature"):
        nobody = np.isnan(mine[name])
        assert len(set(here.owner[nobody])) == 2
        assert not set(here.owner[nobody]) & set(here.owner[~nobody])
    assert np.isfinite(mine["holdout_retraining"]).all()


def test_curvature_is_how_the_slope_changes_along_its_sign():
    """Of a linear model: H = W^T (diag p - p p^T) W, and g = W^T (p - e_y)."""
    network = Network(Mlp(()), (5,), 3)
    weights = network.initial(0)
    inputs, labels = torch.randn(7, 5, generator=torch.manual_seed(1)), torch.arange(7) % 3
    w = network.layout.named(weights)
    matrix = next(part for part in w.values() if part.dim() == 2).double()
    p = network(weights, inputs).detach().double().softmax(dim=1)
    slope = (p - functional.one_hot(labels, 3)) @ matrix
    along = functional.normalize(slope.sign(), dim=1)
    bent = torch.stack(
        [
            matrix.T @ (torch.diag(q) - torch.outer(q, q)) @ matrix @ z
            for q, z in zip(p, along, strict=True)
        ]
    )
    wanted = proxies.STEP * bent.norm(dim=1)
    torch.testing.assert_close(
        curvature(network, weights, inputs, labels), wanted, rtol=0.02, atol=1e-6
    )


def test_divergence_is_symmetric_and_counts_in_nats():
    one = torch.tensor([[0.0, np.log(3.0)], [1.0, 1.0]])
    other = torch.tensor([[0.0, 0.0], [5.0, 5.0]])
    # p = (1/4, 3/4), q = (1/2, 1/2): ((p - q) . log(p/q)) / 2 = log(3)/8
    wanted = torch.tensor([np.log(3) / 8, 0.0], dtype=torch.float64)
    torch.testing.assert_close(symmetric_divergence(one, other), wanted)
    torch.testing.assert_close(symmetric_divergence(other, one), wanted)


def test_every_proxy_is_turned_to_rise_with_memorization():
    values = np.array([0.2, 0.9])
    assert {name: float(np.diff(rising(name, values))[0]) > 0 for name in SIGNS} == {
        "confidence": False,
        "max_confidence": False,
        "entropy": False,  # it is the negative entropy: high where the model is sure
        "accuracy": False,
        "holdout_retraining": True,
        "curvature": True,
    }


def test_inputs_that_are_no_numbers_have_no_curvature():
    tokens = replace(SMALL, dataset=Synthetic("tokens"), model=Gru())
    mine = found(Training(rounds=1, work=LocalWork(1)), tokens)
    assert np.isnan(mine["curvature"]).all()
    assert np.isfinite(mine["confidence"]).all()


def test_an_optimizer_that_looks_at_single_records_is_refused():
    fisher = Training(rounds=1, work=LocalWork(optimizer=DiagonalFisher()))
    with pytest.raises(Refused, match="choose another training"):
        proxies.require_watchable(ground(fisher))
