"""What is refused from the source of a class is what the class refuses, in the same sentence."""

import copy
import re

import pytest
from omegaconf import OmegaConf

from fedunlearn.checks import Refused
from fedunlearn.simulations import configured, field_ranges, settings
from fedunlearn.simulations.hyperparameters import keys

CHOICES = [
    choice
    for choices in settings.known_groups().values()
    for choice in choices.values()
    if choice.group not in settings.OVERLAYS and choice.group not in ("sweep", "launcher")
]

VALUES = (
    *(None, True, 0, 1, -1, 2, 10**15, 0.5, 1.5, -0.5, float("inf"), float("nan")),
    *("abc", "", "auto", [], [1, 2], [0.5, "x"], [[1]], {}, {"a": 1}, {"a": "b"}),
)

CHANGING = ("weight_negation",)
"""Its only field is turned into a tuple before it is looked at."""


def said(refusing, *arguments):
    try:
        refusing(*arguments)
    except Refused as refusal:
        return str(refusal)
    return ""


def variants(choice):
    """Yield the choice with each field of its classes set to each of `VALUES`."""
    usual = {one.path: one.value for one in reversed(settings.known_settings())}
    text = re.sub(r"\$\{([\w.]+)\}", lambda other: usual[other[1]], choice.file.read_text())
    whole, tried = OmegaConf.to_container(OmegaConf.create(text)), set()
    for key in keys(text):
        if id(key.of) in tried:
            continue
        tried.add(id(key.of))
        *steps, last = key.path.replace("[", ".").replace("]", "").split(".")
        for value in VALUES:
            changed = place = copy.deepcopy(whole)
            for step in steps:
                place = place[int(step) if step.isdigit() else step]
            place[last] = copy.deepcopy(value)
            yield key.path, value, changed


def by_cost(choice):
    """Let the choices with the most fields be tried with the slow tests, but for one of a kind."""
    dear = choice.group in ("training", "devices", "evaluators") and choice.name != "fedavg"
    marks = [pytest.mark.slow] if dear else []
    return pytest.param(choice, marks=marks, id=f"{choice.group}={choice.name}")


@pytest.mark.parametrize("choice", [by_cost(choice) for choice in CHOICES])
def test_no_value_is_refused_that_the_class_takes_and_the_sentence_is_its_own(choice):
    build = built_evaluation if choice.group == "evaluators" else configured.build
    found = {"early": 0, "late": 0}
    for path, value, part in variants(choice):
        part.pop("budget", None)  # of a history; the experiment's own
        early = said(field_ranges.require, choice.group, part)
        late = said(build, choice.group, part)
        assert early in ("", late), (path, value)
        found["early"] += bool(early)
        found["late"] += bool(late)
    assert found["early"] >= 0.7 * found["late"] or choice.name in CHANGING


def built_evaluation(where, part):
    """Build what is no object of its own as the commands do."""
    configured.evaluation(OmegaConf.create(part))


OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, ClassVar
from fedunlearn import checks
from fedunlearn.checks import Count, Number
from own_aliases import Tenth
Endless = list[Endless]

@dataclass
class Base:
    count: Count = 1
    def __post_init__(self):
        "Look first."
        checks.fields(self)

@dataclass
class Careful(Base):
    kept: ClassVar[int] = 3
    tenth: Tenth | None = None
    quoted: "Annotated[float, Number(above=2)]" = 3.0
    odd: Endless = ()
    other: "nowhere.Thing" = 0

@dataclass
class Careless:
    count: Count = 1

@dataclass
class Late(Base):
    def __post_init__(self):
        self.count = abs(self.count)
        checks.fields(self)

class Stranger(dict):
    pass
"""


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("Careful", {"count": 0}, "strategy.count must be a whole number of at least 1, not 0."),
        (
            "Careful",
            {"tenth": 0.2},
            "strategy.tenth must be a number at most 0.1 or null, not 0.2.",
        ),
        ("Careful", {"quoted": 1}, "strategy.quoted must be a number above 2, not 1."),
        ("Careful", {"odd": 3, "other": "x"}, ""),
        ("Careful", {"count": 0, "unknown": 3}, ""),
        ("Careless", {"count": 0}, ""),
        ("Late", {"count": -3}, ""),
        ("Stranger", {"count": 0}, ""),
        ("Absent", {"count": 0}, ""),
    ],
)
def test_a_class_of_one_s_own_is_held_to_what_it_checks_itself(
    tmp_path, monkeypatch, name, fields, sentence
):
    (tmp_path / "own_module.py").write_text(OWN)
    (tmp_path / "own_aliases.py").write_text(
        "from typing import Annotated\nfrom fedunlearn.checks import Number\n"
        "Tenth = Annotated[float, Number(at_most=0.1)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (field_ranges.described, field_ranges._found, field_ranges._statements):
        cached.cache_clear()
    part = {"_target_": f"own_module.{name}", **fields}
    assert said(field_ranges.require, "strategy", part) == sentence


@pytest.mark.parametrize("text", ["def", "\0", "x = = 1"])
def test_a_module_that_cannot_be_read_is_left_to_whoever_imports_it(tmp_path, monkeypatch, text):
    (tmp_path / "own_broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for target in (
        "own_broken.Thing",
        "own_broken",
        "",
        ".",
        "own_broken..b",
        "fedunlearn.nothing.Thing",
    ):
        field_ranges.require("strategy", {"_target_": target, "count": 0})


def test_a_class_of_a_package_that_is_nowhere_is_refused_with_the_place():
    said_of = said(field_ranges.require, "strategy", {"work": {"_target_": "nowhere_at_all.Thing"}})
    assert said_of.startswith("strategy.work cannot be built: nowhere_at_all.Thing is not found")
