"""`fedunlearn explain WORD …`: what a key, a group, a choice, a strategy or a metric means."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from fedunlearn.checks import Refused, nearest
from fedunlearn.results import CARDS, Card

from .guard import sentences
from .overrides import key_and_value
from .settings import (
    OVERLAYS,
    Choice,
    Setting,
    defaults,
    ending_in,
    known_groups,
    known_settings,
    sentences_of_groups,
)

USAGE = """\
usage: fedunlearn explain WORD …

Say what a word of the command line or of a table means: a key such as
training.work.optimizer.lr (or its last part, lr), a group such as partition,
a choice such as partition=dirichlet or dirichlet, a strategy such as federaser,
or a metric such as forget_accuracy.
"""

WIDTH = 100

COLUMN = 37
"""Where the sentences about keys begin."""

DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "retrained": "best is the retrained model's value",
}


def main() -> None:
    """Explain every word of the command line; an unknown one ends it with code 2."""
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        sys.stdout.write(USAGE)
        sys.exit(0 if words else 2)
    with sentences():
        parts = ("\n".join(map(_wrapped, explained(word))) for word in words)
        sys.stdout.write("\n\n".join(parts) + "\n")


def explained(word: str) -> list[str]:
    """Return the lines that say what ``word`` means; raise `Refused` where it means nothing."""
    name, value = key_and_value(word)
    if name in known_groups() and value in known_groups()[name]:
        return list(_choice(known_groups()[name][value]))
    lines: list[str] = []
    if name in known_groups():
        lines += _group(name)
    elif name in {one.path for one in known_settings()}:
        lines += _key(name)
    lines += [
        line
        for choices in known_groups().values()
        if name in choices and choices[name].group != "sweep"
        for line in _choice(choices[name])
    ]
    card = CARDS.get(name.partition("/")[0]) or CARDS.get(name.removesuffix("_gap"))
    if card is not None:
        lines += _metric(card, gap=name.endswith("_gap"))
    if not lines:
        lines = [line for path in ending_in(name) for line in _key(path)]
    if not lines:
        raise Refused(f"{word} is neither a key nor a choice nor a metric{_nearest(name)}")
    return lines


def _nearest(name: str) -> str:
    """Return the end of the sentence about an unknown word, without the list of all words."""
    keys = {part for one in known_settings() for part in (one.path, one.path.rpartition(".")[2])}
    choices = {choice for group in known_groups().values() for choice in group}
    known = {*keys, *known_groups(), *choices, *CARDS}
    return nearest(name, known).partition(" The choices")[0]


def _key(path: str) -> Iterator[str]:
    alike = [one for one in known_settings() if one.path == path]
    first = alike[0]
    yield f"{path}={first.value}" if first.value else path
    if first.sentence:
        yield f"  {_sentence(first.sentence)}"
    if first.target:
        yield f"  Set in {_place(first)}; of class {first.target}."
    usual = defaults().get(first.group)
    if first.group and usual != first.choice and first.group not in OVERLAYS:
        yield f"  There with {', '.join(_with(alike))}; the default is {first.group}={usual}."
    others = {one.value: one for one in reversed(alike) if one.value != first.value}
    if others and first.group:
        yield f"  Elsewhere: {'; '.join(f'{v} with {_with([s])[0]}' for v, s in others.items())}."
    below = [one for one in known_settings() if one.path.rpartition(".")[0] == path]
    own = [one for one in below if (one.group, one.choice) == (first.group, first.choice)]
    yield from (_row(one, one.path.rpartition(".")[2]) for one in own)


def _with(alike: Sequence[Setting]) -> list[str]:
    return list(dict.fromkeys(f"{one.group}={one.choice}" for one in alike))


def _place(setting: Setting) -> str:
    inside = f"{setting.group}/" if setting.group else ""
    return f"conf/{inside}{setting.choice}.yaml"


def _group(name: str) -> Iterator[str]:
    usual = defaults().get(name)
    yield f"{name}={usual or 'null'}"
    yield (
        f"  {_sentence(sentences_of_groups().get(name, ''))}" if usual else "  A group of your own."
    )
    yield "  Choices:"
    width = max(map(len, known_groups()[name]))
    for choice in known_groups()[name].values():
        mark = " (default)" if choice.name == usual else ""
        yield f"    {choice.name:{width}}  {_sentence(choice.sentence)}{mark}".rstrip()


def _choice(choice: Choice) -> Iterator[str]:
    mark = ", the default" if defaults().get(choice.group) == choice.name else ""
    yield f"{choice.group}={choice.name}{mark}"
    if choice.sentence:
        yield f"  {_sentence(choice.sentence)}"
    yield f"  Set in {choice.file}:"
    mine = [
        one
        for one in known_settings()
        if (one.group, one.choice) == (choice.group, choice.name) and one.value
    ]
    yield from (_row(one, one.path) for one in mine)


def _wrapped(line: str) -> str:
    if "\n" in line:
        return line
    indent = len(line) - len(line.lstrip())
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * (indent + 2), break_on_hyphens=False)


def _row(setting: Setting, name: str) -> str:
    value = f"={setting.value}" if setting.value else ""
    left = f"    {f'{name}{value}':{COLUMN - 5}} "
    return textwrap.fill(f"{left}{setting.sentence}", WIDTH, subsequent_indent=" " * COLUMN)


def _metric(card: Card, *, gap: bool) -> Iterator[str]:
    yield f"{card.name}, a metric: {card.label}"
    yield f"  {card.meaning}"
    percent = " Files hold fractions; tables and figures show percent." if card.percent else ""
    bounds = f"From {card.lower_bound:g} to {card.upper_bound:g}"
    yield f"  {bounds}; {DIRECTIONS[card.better]}.{percent}"
    if gap:
        yield f"  {card.name}_gap is this less the retrained model's value: 0 is best."
    yield "  Every metric: docs/metrics.md"


def _sentence(text: str) -> str:
    """Return a text that begins with a capital and ends with a full stop, as sentences do."""
    first = text.split(" ", 1)[0]
    plain = first[1:] == first[1:].lower() and not first.startswith("`")
    upper = text[:1].upper() + text[1:] if plain else text
    return upper if not upper or upper.endswith((".", "?", ")")) else f"{upper}."
