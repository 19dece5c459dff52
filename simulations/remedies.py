"""What is said of a mistyped word of the command line: what is wrong, and what was meant by it."""

import contextlib
import re

from hydra import compose
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from fedunlearn.checks import nearest

from . import settings
from .overrides import key_and_value


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
    if "=" not in text:
        return f"{text} is no KEY=VALUE. fedunlearn explain {text} says whether it is a word here."
    if reason.startswith(text.partition("=")[0]):
        return reason  # of several values for one key
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
    paths = settings.ending_in(key)
    if paths:
        return f"{key} does not exist by that name. Write {' or '.join(paths)}."
    parent, _, name = key.rpartition(".")
    known = [] if parent else [*settings.known_groups()]
    return f"{key} does not exist{nearest(name, {*known, *_keys(parent, others)})}"


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
