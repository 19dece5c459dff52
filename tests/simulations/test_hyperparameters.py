"""Every class that conf/ names says what its fields take, and refuses all else by the key."""

import copy
import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_origin

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from fedunlearn import checks
from fedunlearn.checks import Kind, Number, OneOf, Refused, Whole
from fedunlearn.data import Torchvision
from fedunlearn.data.archives import ARCHIVES
from fedunlearn.experiment.estimate.doctor import MODES
from fedunlearn.flower import Local
from fedunlearn.history import OnDisk
from fedunlearn.methods import NOISE_MECHANISMS
from fedunlearn.simulations import configured, docs_tables, yaml_comments
from fedunlearn.simulations.hyperparameters import OURS, hyperparameters, keys
from strategies.federaser import SCOPES, FedEraser
from strategies.fedrecovery import FedRecovery
from strategies.puf import ETAS, Puf
from strategies.sifu import Sifu

CONF = yaml_comments.CONF
HYDRA_S = {"IndexRuns", "OptunaSweeper", "TPESampler"}
"""Targets that Hydra builds: no part of an experiment."""


def parts():
    """Each part of conf/ that is built as a whole, as plain values, with its place and its file."""
    for path in sorted(CONF.glob("*/*.yaml")):
        cfg = OmegaConf.to_container(OmegaConf.load(path))
        group = path.parent.name
        if group == "evaluators":
            for kind in ("measures", "final"):
                for place, part in enumerate(cfg.get(kind, ())):
                    yield f"{group}.{kind}[{place}]", settled(part)
        elif group == "withdrawal" and cfg["stream"]:
            yield "withdrawal.stream.arrivals", settled(cfg["stream"]["arrivals"])
        elif "_target_" in cfg:
            cfg.pop("budget", None)  # which is none of the store's
            yield group, settled(cfg)
    whole = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    yield from ((name, whole[name]) for name in ("reference", "answer"))


def settled(part):
    """A part without references to other groups."""
    if isinstance(part, dict):
        return {key: settled(value) for key, value in part.items()}
    known = {"${training.work.batch_size}": 32, "${training.work.optimizer.lr}": 0.02}
    return known.get(part, part) if isinstance(part, str) else part


def nodes(part, way=()):
    """Every node of a part that names a class, with the keys on the way to it."""
    if isinstance(part, dict):
        if "_target_" in part:
            yield way, part["_target_"]
        for key, value in part.items():
            yield from nodes(value, (*way, key))
    elif isinstance(part, list):
        for place, value in enumerate(part):
            yield from nodes(value, (*way, place))


def first_places():
    """Where each class stands first: its place, the part around it, and the way through that."""
    found = {}
    for place, part in parts():
        for way, name in nodes(part):
            found.setdefault(name, (place, part, way))
    return found


PLACES = first_places()

ALLOWED = [
    ("strategies.weight_negation.WeightNegation", "layers", "'text'"),
    ("fedunlearn.data.Natural", "owners", "[1]"),
    ("fedunlearn.data.Natural", "owners", "[0.5]"),
]
"""One name may stand for a list of one, and a number for the name of an owner."""


def wrong(fits, optional):
    """Values that do not fit a bound, with those just outside."""
    found = [] if optional else [None]
    match fits:
        case Number():
            found += [math.nan, math.inf, -math.inf, "1", "much", True, [1]]
            found += [limit for limit in (fits.above, fits.below) if limit is not None]
            if fits.at_least is not None:
                found.append(math.nextafter(fits.at_least, -math.inf))
            if fits.at_most is not None:
                found.append(math.nextafter(fits.at_most, math.inf))
        case Whole():
            found += [fits.at_least - 1, 1.5, float(fits.at_least), math.nan, math.inf, "1", True]
        case OneOf():
            found += ["nonsense", "", 17, True, *(f"{option} " for option in fits.options)]
        case Kind(kind=kind) if kind is bool:
            found += [0, 1, "true", 1.0]
        case Kind(kind=kind) if kind is Mapping:
            found += ["text", 17, True, ["test_loss"]]
        case Kind(kind=kind):
            assert kind is str
            found += [1, True, 0.5]
        case _:
            found += ["nonsense", 1, True]
    return found


def cases(annotation):
    """Wrong values of a field, each with the end of the key that is named."""
    fits, optional = checks.bound(annotation)
    if optional:
        annotation = get_args(annotation)[0]
    origin = get_origin(annotation)
    if origin is tuple:
        kinds = get_args(annotation)
        many = 1 if kinds[-1] is Ellipsis else len(kinds)
        yield from ((value, "") for value in (["text", 3] if optional else ["text", 3, None]))
        if many > 1:
            yield [1] * (many + 1), ""
        for value in wrong(fits, False):
            yield [*[8 if isinstance(fits, Whole) else "name"] * (many - 1), value], f"[{many - 1}]"
    elif origin is Mapping:
        yield from ((value, "") for value in (None, 3, [0.1]))
        for value in wrong(fits, False):
            yield {"test_loss_gap": value}, ".test_loss_gap"
    else:
        yield from ((value, "") for value in wrong(fits, optional))


def changed(part, way, field, value):
    """A part with one field of one node set."""
    new = copy.deepcopy(part)
    node = new
    for key in way:
        node = node[key]
    node[field] = value
    return new


@pytest.mark.parametrize("name", PLACES)
def test_a_field_refuses_what_it_cannot_be_by_the_key_s_path(name):
    if name.endswith(".WeightsAndBiases"):
        pytest.importorskip("wandb")
    place, part, way = PLACES[name]
    configured.build(place, part)
    for field, annotation in checks.annotations(get_class(name)).items():
        fits = checks.bound(annotation)[0]
        if fits is None or isinstance(fits, checks.Part):
            continue  # another object, which checks itself
        steps = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in [*way, field]]
        path = place + "".join(steps)
        tried = list(cases(annotation))
        assert len(tried) >= 3
        for value, end in tried:
            if (name, field, repr(value)) in ALLOWED:
                configured.build(place, changed(part, way, field, value))
                continue
            with pytest.raises(Refused) as refusal:
                configured.build(place, changed(part, way, field, value))
            assert re.match(re.escape(path + end) + r"( must|=)", str(refusal.value)), value


def test_these_are_all_classes_of_the_configuration():
    texts = (path.read_text() for path in CONF.rglob("*.yaml"))
    named = {name for text in texts for name in re.findall(r"_target_: *([\w.]+)", text)}
    assert {name for name in named if name.rpartition(".")[2] not in HYDRA_S} == set(PLACES)
    assert all(name.startswith(OURS) for name in PLACES)
    assert sum(len(checks.annotations(get_class(name))) for name in PLACES) > 120


@pytest.mark.parametrize("name", PLACES)
def test_a_field_says_in_one_sentence_what_it_is(name):
    cls = get_class(name)
    assert [one.name for one in hyperparameters(cls)] == [f.name for f in dataclasses.fields(cls)]
    for one in hyperparameters(cls):
        assert re.fullmatch(r"[^.]([^.]|\.(?! ))*\.", one.sentence), one
        assert ("None" in one.sentence) <= one.optional, one


TABLES = {
    (Torchvision, "name"): ARCHIVES,
    (Local, "mode"): ("auto", *MODES),
    (FedEraser, "scope"): SCOPES,
    (Sifu, "mechanism"): NOISE_MECHANISMS,
    (FedRecovery, "mechanism"): NOISE_MECHANISMS,
    (Puf, "mode"): ETAS,
}


@pytest.mark.parametrize(("cls", "field"), TABLES, ids=str)
def test_choices_are_those_of_the_table(cls, field):
    fits, _ = checks.bound(checks.annotations(cls)[field])
    assert isinstance(fits, OneOf)
    assert set(fits.options) == set(TABLES[cls, field])


@dataclass(frozen=True)
class Example:
    """One of everything."""

    count: checks.Count
    """The most ``things``; None is not one."""
    share: Annotated[float, Number(above=0, at_most=1)] | None = None
    """GPUs that are shared; None: all."""
    way: Literal["up", "down"] = "up"
    """Where to go: up or down."""
    to: Literal["left", "right"] = "left"
    """Where to turn."""
    many: tuple[checks.Count, ...] = (2, 3)
    """Widths."""
    on: bool = True
    """Whether it is."""


def test_a_class_becomes_rows():
    count, share, way, to, many, on = hyperparameters(Example)
    assert (count.name, count.kind, count.range) == ("count", "whole number", "at least 1")
    assert (count.default, count.sentence) == ("required", "The most ``things``; None is not one.")
    assert count.comment == "the most things; null is not one (at least 1)"
    assert share.takes == "number above 0 and at most 1, or null"
    assert share.comment == "GPUs that are shared; null: all (above 0 and at most 1)"
    assert (way.takes, way.comment) == ("up or down", "where to go: up or down")
    assert to.comment == "where to turn (left or right)"
    assert (many.takes, many.default) == ("list, each a whole number of at least 1", "[2, 3]")
    assert (on.takes, on.default, on.comment) == ("true or false", "true", "whether it is")


SOME = """\
# of the file's own
_target_: fedunlearn.history.OnDisk
# the same
encoding: "#"  # old
               # and longer
limit: 0
budget: null        # own
"""

SOME_COMMENTED = """\
# of the file's own
_target_: fedunlearn.history.OnDisk
# the same
encoding: "#"            # how updates are stored on disk; topk-0.1 keeps the largest tenth
                         # (float32, bfloat16, float16, int8 or topk-SHARE)
limit: 0                 # bytes up to which rounds stay in memory, as they are (at least 0)
budget: null        # own
"""


def test_comments_are_written_beside_the_keys_of_a_class_only():
    assert yaml_comments.commented(SOME) == SOME_COMMENTED
    assert yaml_comments.commented(SOME_COMMENTED) == SOME_COMMENTED
    assert OmegaConf.create(SOME) == OmegaConf.create(SOME_COMMENTED)


def test_keys_have_their_paths_in_lists_and_below_other_keys():
    text = (CONF / "evaluators" / "full.yaml").read_text()
    found = {key.path: key.value for key in keys(text)}
    assert found["final[3].work.optimizer.momentum"] == "0.0"
    assert found["final[3].work"] == ""
    assert "defaults" not in found


def test_every_field_in_conf_has_its_comment():
    for path, text in yaml_comments.files().items():
        for key in keys(text):
            beside = text.splitlines()[key.line][key.end :].strip()
            assert beside.startswith("# "), (path, key.path)
        assert max(map(len, text.splitlines())) <= 110, path


def test_a_class_has_one_table_and_strategies_have_theirs():
    page = docs_tables.all_classes()
    for name in PLACES:
        title = f"### {name.rpartition('.')[2]}\n"
        strategy = name.startswith("strategies.")
        wanted = 0 if strategy or not hyperparameters(get_class(name)) else 1
        assert page.count(title) == wanted, name


def test_a_store_takes_every_encoding():
    for name in ("float32", "bfloat16", "float16", "int8", "topk-0.1", "topk-1"):
        assert OnDisk(encoding=name).encoding == name
    with pytest.raises(Refused, match=r"OnDisk\.encoding=topk-2 does not exist"):
        OnDisk(encoding="topk-2")
