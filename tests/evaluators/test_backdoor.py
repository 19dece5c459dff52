import torch

from fedunlearn.evaluators import BackdoorProbe
from tests.support.evaluated import CLASSES, hits, records, saying

TARGET = 2


def _triggered(said):
    logits = 5.0 * torch.eye(CLASSES)[torch.tensor(said)]
    return {"triggered": records(logits, [TARGET] * len(said))}


def test_the_rate_is_the_share_taken_for_the_target():
    sets = _triggered([TARGET, TARGET, 0, 1, 3, 0, 1, 3])
    assert BackdoorProbe()(saying(sets), None) == {"attack_success_rate": 0.25}


def test_a_backdoor_that_never_or_always_opens():
    never, always = _triggered([0, 1, 3]), _triggered([TARGET] * 3)
    assert BackdoorProbe()(saying(never), None) == {"attack_success_rate": 0.0}
    assert BackdoorProbe()(saying(always), None) == {"attack_success_rate": 1.0}


def test_without_a_backdoor_there_is_no_rate():
    assert BackdoorProbe()(saying({"test": hits(2, 2)}), None) == {}
    assert BackdoorProbe()(saying({"triggered": records([], [])}), None) == {}


def test_a_diverged_model_opens_no_backdoor():
    # argmax alone would give nan the class 0, and with it a success rate of 1.
    sets = {"triggered": records([[float("nan")] * CLASSES] * 3, [0, 0, 0])}
    assert BackdoorProbe()(saying(sets), None) == {"attack_success_rate": 0.0}


def test_several_triggers_have_a_rate_each_and_their_mean():
    one, other = (_triggered(said)["triggered"] for said in ([TARGET, 0], [TARGET] * 3 + [0]))
    found = BackdoorProbe()(saying({"triggered/0": one, "triggered/3": other}), None)
    assert found == {
        "attack_success_rate": 0.625,
        "attack_success_rate/0": 0.5,
        "attack_success_rate/3": 0.75,
    }
