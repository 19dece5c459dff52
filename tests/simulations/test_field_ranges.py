"""What is refused from the source of a class is what the class refuses, in the same sentence."""

import copy
import re
from functools import cache

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

ONE_A_KIND = (None, True, 0, -1, 1.5, float("nan"), "abc", [1, 2], {"a": 1})
"""With the fast tests, as every value is another building; all of them with the slow ones."""

CHANGING = ("weight_negation",)
"""Its only field is turned into a tuple before it is looked at."""


def said(refusing, *arguments):
    try:
        refusing(*arguments)
    except Refused as refusal:
        return str(refusal)
    return ""


@cache
def plain(choice):
    """The text of a choice, with what stands in other groups filled in."""
    usual = {one.path: one.value for one in reversed(settings.known_settings())}
    return re.sub(r"\$\{([\w.]+)\}", lambda other: usual[other[1]], choice.file.read_text())


@cache
def places(choice):
    """Where each field of the classes of a choice stands first in it."""
    return {id(key.of): key.path for key in reversed(list(keys(plain(choice))))}


@cache
def first_choices():
    """The smallest choice that each field stands in."""
    by_size = sorted(CHOICES, key=lambda choice: len(places(choice)), reverse=True)
    return {field: choice for choice in by_size for field in places(choice)}


def node(whole, steps):
    """The part of a configuration that some keys lead to."""
    for step in steps:
        whole = whole[int(step) if step.isdigit() else step]
    return whole


def keys_of(path):
    return path.replace("[", ".").replace("]", "").split(".")


def variants(whole, path, values):
    """Yield a part with the field at ``path`` set to each of some values."""
    *steps, last = keys_of(path)
    for value in values:
        changed = copy.deepcopy(whole)
        node(changed, steps)[last] = copy.deepcopy(value)
        changed.pop("budget", None)  # of a history; the experiment's own
        yield value, changed


def held_to_its_classes(choice, tried, values):
    """Each place, part and path of a field in it is refused early as it is late, or not at all."""
    found = {"early": 0, "late": 0}
    for where, part, path in tried:
        build = built_evaluation if where == "evaluators" else configured.build
        for value, changed in variants(part, path, values):
            early = said(field_ranges.require, where, changed)
            late = said(build, where, changed)
            assert early in ("", late), (where, path, value)
            found["early"] += bool(early)
            found["late"] += bool(late)
    assert found["early"] >= 0.7 * found["late"] or choice.name in CHANGING


def parsed(choice):
    return OmegaConf.to_container(OmegaConf.create(plain(choice)))


def called(choice):
    return f"{choice.group}={choice.name}"


@pytest.mark.parametrize("choice", CHOICES, ids=called)
def test_no_value_is_refused_that_the_class_takes_and_the_sentence_is_its_own(choice):
    """A class is tried by itself, where it stands in the smallest choice."""
    tried = []
    for field, path in places(choice).items():
        if first_choices()[field] is choice:
            above, _, last = path.rpartition(".")
            where = f"{choice.group}.{above}" if above else choice.group
            tried.append((where, node(parsed(choice), keys_of(above) if above else ()), last))
    held_to_its_classes(choice, tried, ONE_A_KIND)


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids=called)
def test_the_same_holds_for_every_value_in_a_choice_as_a_whole(choice):
    whole = parsed(choice)
    paths = places(choice).values()
    held_to_its_classes(choice, [(choice.group, whole, path) for path in paths], VALUES)


def test_a_class_within_others_is_named_by_all_keys_on_the_way():
    (choice,) = [one for one in CHOICES if called(one) == "recovery=warm"]
    whole = parsed(choice)
    inner = [(choice.group, whole, path) for path in places(choice).values() if "." in path]
    assert inner
    held_to_its_classes(choice, inner, ONE_A_KIND)


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
