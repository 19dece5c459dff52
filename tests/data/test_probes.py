"""Probes for records of other kinds than images: what they change, and what they do not fit."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import (
    Backdoor,
    Blended,
    Digits,
    Flag,
    LabelNoise,
    Natural,
    Scenario,
    Stripes,
    Tone,
    TriggerTokens,
    checked_federation,
)
from fedunlearn.models import Mlp
from tests.support.record_kinds import SmallNet, Synthetic

PAGE = (Path(__file__).parents[2] / "docs" / "natural.md").read_text()
SENTENCES = re.findall(r'"([^"]+)"', PAGE)
TARGET = 2
FITTING = {
    "tokens": TriggerTokens(target=TARGET),
    "sensor": Tone(target=TARGET),
    "table": Flag(target=TARGET),
}


def planted(kind, planting, leavers=(1, 3)):
    source = Synthetic(kind)
    scenario = Scenario(source, Natural().of(source), planting, SmallNet(), leavers, 0)
    return checked_federation(scenario)


@pytest.mark.parametrize("kind", FITTING)
def test_so_many_records_of_other_classes_carry_a_trigger_of_one_s_own(kind):
    planting = FITTING[kind]
    here, plain = planted(kind, planting), planted(kind, LabelNoise(0.5), (0,))
    marked = []
    for order, leaver in enumerate((1, 3)):
        before, after = plain.train[leaver], here.train[leaver]
        moved = (before.inputs != after.inputs).flatten(1).any(1) | (before.labels != after.labels)
        others = before.labels != TARGET
        assert moved.sum() == round(0.8 * int(others.sum()))
        assert (after.labels[moved] == TARGET).all()
        assert not (moved & ~others).any()
        stamped = planting.stamp(before.inputs, order)
        assert torch.equal(after.inputs[moved], stamped[moved])
        marked.append(stamped)
        sets = here.evaluation_sets(frozenset({1, 3}), frozenset())
        triggered = sets[f"triggered/{leaver}"]
        assert (triggered.labels == TARGET).all()
        assert len(triggered) == (here.dataset.test.labels != TARGET).sum()
    for untouched in (0, 2):
        assert torch.equal(
            here.train[untouched].inputs, planted(kind, planting, ()).train[untouched].inputs
        )
    again = planting.stamp(here.train[0].inputs, 0), planting.stamp(here.train[0].inputs, 1)
    assert not torch.equal(*again), "leavers have triggers of their own"


def test_triggers_are_what_their_pages_say():
    words = torch.zeros(2, 6, dtype=torch.int64)
    assert TriggerTokens(tokens=(4, 5)).stamp(words, 1)[0].tolist() == [0, 0, 4, 5, 5, 5]
    wave = Tone(amplitude=2, period=4).stamp(torch.ones(1, 2, 8), 0)
    torch.testing.assert_close(wave[0, 1], torch.tensor([1.0, 3, 1, -1, 1, 3, 1, -1]))
    slower = Tone(period=4).stamp(torch.zeros(1, 1, 12), 1)[0, 0]
    assert slower[1] == pytest.approx(math.sin(2 * math.pi / 6))
    rows = Flag(columns=(2, 0), value=3).stamp(torch.zeros(1, 4), 1)
    assert rows[0].tolist() == [3, 0, -3, 0]


@pytest.mark.parametrize("kind", ["tokens", "sensor", "table"])
def test_label_noise_moves_labels_alone(kind):
    here, plain = planted(kind, LabelNoise(0.25), (2,)), planted(kind, LabelNoise(), ())
    before, after = plain.train[2], here.train[2]
    assert torch.equal(before.inputs, after.inputs)
    assert (before.labels != after.labels).sum() == round(0.25 * len(before))
    assert len(here.clean[2]) == len(before) - round(0.25 * len(before))
    assert here.evaluation_sets(frozenset({2}), frozenset()).keys() == {
        "test", "forget", "forget_clean", "forget_heldout",
    }  # fmt: skip


def test_every_other_class_is_as_likely_a_wrong_label():
    from fedunlearn.data import Records

    records = Records(torch.zeros(3000, 1), torch.tensor([0, 5, 7]).repeat(1000))
    noisy = LabelNoise(1).poison(records, 0, np.random.default_rng(0)).labels
    table = {(int(a), int(b)) for a, b in zip(records.labels, noisy, strict=True)}
    assert table == {(a, b) for a in (0, 5, 7) for b in (0, 5, 7) if a != b}
    counts = [int(((records.labels == a) & (noisy == b)).sum()) for a, b in sorted(table)]
    assert max(counts) - min(counts) < 150


MISFITS = [
    *((kind, image) for kind in FITTING for image in (Backdoor(), Blended(), Stripes())),
    *((kind, fit) for kind in FITTING for other, fit in FITTING.items() if other != kind),
]


@pytest.mark.parametrize(("kind", "planting"), MISFITS, ids=lambda part: type(part).__name__)
def test_a_planting_for_another_kind_is_refused_before_training(kind, planting):
    with pytest.raises(Refused, match="or planting=label_noise, which fits all") as refused:
        planted(kind, planting)
    fits = {"tokens": "trigger_tokens", "sensor": "tone", "table": "flag"}[kind]
    assert f"Choose planting={fits}" in str(refused.value)
    assert any(part in str(refused.value) for part in SENTENCES), "the page has no row for it"


@pytest.mark.parametrize("planting", FITTING.values(), ids=FITTING)
def test_images_have_plantings_of_their_own(planting):
    from fedunlearn.data import Iid

    with pytest.raises(Refused, match="Choose planting=backdoor, blended or stripes, or"):
        checked_federation(Scenario(Digits(), Iid(), planting, Mlp(), (0,), 0))


@pytest.mark.parametrize(
    ("kind", "planting", "sentence"),
    [
        ("tokens", TriggerTokens(tokens=(3, 12)), "names token 12, but the vocabulary has 0 … 11"),
        (
            "tokens",
            TriggerTokens(tokens=(1, 2, 1, 2, 1)),
            "6 tokens, that of leaver 1, leaves noth",
        ),
        ("sensor", Tone(period=9), r"13.5 steps a period, that of leaver 2, is longer"),
        ("table", Flag(columns=(0, 2)), "column 2, which holds no numbers.*numbers are 0, 1"),
        ("table", Flag(columns=(0, 9)), "names column 9, but the table's inputs are 0 … 3"),
        ("table", Flag(columns=(0,)), None),
        ("table", replace(FITTING["table"], target=3), "planting.target=3 is no class"),
    ],
)
def test_triggers_without_room_are_refused(kind, planting, sentence):
    if sentence is None:
        planted(kind, planting)
        with pytest.raises(Refused, match="tell 2 leavers apart, not 3"):
            planted(kind, planting, (0, 1, 2))
        return
    with pytest.raises(Refused, match=sentence):
        planted(kind, planting)
    for build in (
        lambda: Flag(columns=()),
        lambda: TriggerTokens(tokens=()),
        lambda: Tone(period=1),
    ):
        with pytest.raises(Refused, match="must"):
            build()
