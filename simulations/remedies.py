"""What is said of a mistyped word of the command line: what is wrong, and what was meant by it."""

import contextlib
import re

import yaml
from hydra import compose
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from fedunlearn.checks import nearest, short

from . import settings
from .overrides import key_and_value

SHOWN = 4
"""Keys of one name that a sentence lists."""

MAIN_KEYS = ("seed", "seeds", "strategies", "heldout", "proxy", "references", "cache", "run")
"""Keys of no group."""


def choose(group: str) -> str:
    """Say what a group takes."""
    choices = ", ".join(settings.known_groups()[group])
    return f"{group} takes the name of one of its choices: {choices}."


def no_choice(overrides: list[str], error: ValueError) -> str:
    """Say which override gives a group a value that is no name."""
    for key, value in map(key_and_value, overrides):
        if value not in settings.known_groups().get(key, {value}):
            return choose(key)
        if not key:
            return f"={value} names no key. Write KEY={value}."
    return first_line(error)


def unparsed(error: OverrideParseException) -> str:
    """Say that one word of the command line is no ``KEY=VALUE``, and why."""
    text, reason = str(error.override), first_line(error)
    name, _, value = text.partition(":")
    if "=" not in text and name in {*settings.known_groups(), *MAIN_KEYS}:
        return f"{text} is no KEY=VALUE. Write {name}={value or 'VALUE'}."
    if "=" not in text:
        return f"{text} is no KEY=VALUE. fedunlearn explain {text} says whether it is a word here."
    if reason.startswith(text.partition("=")[0]):
        return reason  # of several values for one key
    pairs = (("[", "]"), ("{", "}"), ("(", ")"))
    if any(text.count(opening) != text.count(closing) for opening, closing in pairs):
        reason = "a bracket is not closed, or not opened"
    return f"{text} cannot be read ({reason}). Lists are [1,2]; quote the whole for the shell."


def absent(key: str, others: list[str]) -> str:
    """Say that there is no ``key`` beside the overrides ``others``, and what was meant by it."""
    group, _, inside = key.partition(".")
    offering = {
        f"{one.group}={one.choice}"
        for one in settings.known_settings()
        if one.path == key and one.group == group
    }
    if key in settings.known_groups():
        return choose(key)
    if offering:
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            whole = compose("config", overrides=others, return_hydra_config=True)
            chosen = whole.hydra.runtime.choices[group]
            return (
                f"{group}={chosen} has no {inside}. Choose {' or '.join(sorted(offering))} as well."
            )
    paths = sorted(settings.ending_in(key), key=_distance)
    if paths:
        more = "" if len(paths) <= SHOWN else f" fedunlearn explain {key} says what each is."
        written = " or ".join(paths[:SHOWN])
        return f"{key} does not exist by that name. Write {written}.{more}"
    parent, _, name = key.rpartition(".")
    known = [] if parent else [*settings.known_groups()]
    return f"{key} does not exist{nearest(name, {*known, *_keys(parent, others)})}"


def _distance(path: str) -> tuple[bool, int, int]:
    """Order keys of one name by how often somebody means them: those of training come first."""
    first = ("training.work.optimizer.", "partition.", "training.")
    place = next((n for n, begin in enumerate(first) if path.startswith(begin)), len(first))
    return "[" in path, place, path.count(".")


def no_path(group: str, value: str) -> str:
    """Say that a group takes a name, not a path."""
    own = " Your own images: dataset=imagefolder dataset.root=FOLDER." if group == "dataset" else ""
    return f"{group}={short(value)} is no name.{own} {choose(group)}"


def unreadable(error: yaml.YAMLError) -> str:
    """Say where a YAML file is none, and why."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}," if mark is not None else "A file of conf/"
    problem = getattr(error, "problem", None) or first_line(error)
    return f"{place} is no YAML: {problem}."


def _keys(parent: str, overrides: list[str]) -> list[str]:
    """Return the fields beside a mistyped one."""
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        part = compose("config", overrides=overrides)
        for name in filter(None, parent.split(".")):
            part = part[name]
        return [str(key) for key in part if key != "_target_"]
    return []


def first_line(error: Exception) -> str:
    """Return what Hydra says; of several values for one key, what to write instead."""
    text = str(error).strip().splitlines()[0]
    several = re.fullmatch(r"Ambiguous value for argument '([^=]+)=(.*)'", text)
    if several is None:
        return text
    key, values = several.groups()
    one = "" if key in settings.known_groups() else f" One list is '{key}=[{values}]', with quotes."
    return f"{key}={values} gives several values.{one} A run for each is -m {key}={values}."
