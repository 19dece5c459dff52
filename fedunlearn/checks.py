"""Checks of what a user asked for: each failure is one sentence, raised before any training.

A field's range stands in its annotation (``lr: Positive = 0.02``); `fields` holds values to it.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints


class Refused(ValueError):
    """Input that cannot be served; the message says what is wrong, where, and what to do."""


class FieldRefused(Refused):
    """A field's value that cannot be: the sentence is ``<path>.<key><rest>``.

    The path is the class's name until somebody knows where in a configuration the object stands.
    """

    def __init__(self, path: str, key: str, rest: str) -> None:
        """Make the sentence."""
        super().__init__(f"{path}.{key}{rest}")
        self.path, self.key, self.rest = path, key, rest

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        """Survive the way from one process to another."""
        return type(self), (self.path, self.key, self.rest)

    def at(self, path: str) -> "FieldRefused":
        """Return the same sentence about the object at ``path`` of a configuration."""
        return FieldRefused(path, self.key, self.rest)


def short(text: str, longest: int = 60) -> str:
    """Return ``text``, cut to what a sentence quotes."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def shown(value: object) -> str:
    """Return ``value`` as a sentence quotes it."""
    return short(repr(value))


class Bound(Protocol):
    """Which values a field takes."""

    @property
    def words(self) -> str:
        """The range as comments and tables give it, such as ``above 0``; empty where any fits."""

    def wrong(self, value: object, or_null: str = "") -> str:
        """Return what follows the field's name in the sentence about ``value``; empty if it fits.

        ``or_null`` is said of the values that are allowed, where None is one.
        """


@dataclass(frozen=True)
class Number:
    """A finite number within the bounds given."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    @property
    def words(self) -> str:
        """As `Bound.words`."""
        bounds = {"above": self.above, "at least": self.at_least}
        bounds |= {"at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {n:g}" for word, n in bounds.items() if n is not None)

    def wrong(self, value: object, or_null: str = "") -> str:
        """As `Bound.wrong`."""
        fits = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )
        wanted = f"a number {self.words}".rstrip()
        return "" if fits else f" must be {wanted}{or_null}, not {shown(value)}."


@dataclass(frozen=True)
class Whole:
    """A whole number of at least ``at_least``; None: any."""

    at_least: int | None = 1

    @property
    def words(self) -> str:
        """As `Bound.words`."""
        return "" if self.at_least is None else f"at least {self.at_least}"

    def wrong(self, value: object, or_null: str = "") -> str:
        """As `Bound.wrong`."""
        fits = (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (self.at_least is None or value >= self.at_least)
            and abs(value) < 10**15
        )
        wanted = f"a whole number of {self.words}" if self.words else "a whole number"
        wanted += " below 10^15" if isinstance(value, int) and abs(value) >= 10**15 else ""
        return "" if fits else f" must be {wanted}{or_null}, not {shown(value)}."


@dataclass(frozen=True)
class OneOf:
    """One of ``options``, which a ``Literal`` names."""

    options: tuple[object, ...]

    @property
    def words(self) -> str:
        """As `Bound.words`."""
        *most, last = map(str, self.options)
        return f"{', '.join(most)} or {last}" if most else last

    def wrong(self, value: object, or_null: str = "") -> str:
        """As `Bound.wrong`; the sentence names the closest."""
        if any(value == option and type(value) is type(option) for option in self.options):
            return ""
        if isinstance(value, str) and all(isinstance(option, str) for option in self.options):
            choices = [*map(str, self.options), *(["null"] if or_null else [])]
            return f"={short(value)} does not exist{nearest(value, choices)}"
        listed = OneOf((*self.options, "null")).words if or_null else self.words
        return f" must be {listed}, not {shown(value)}."


@dataclass(frozen=True)
class Kind:
    """Any value of one class; ``wanted`` is said of it."""

    kind: type
    wanted: str
    words: str = ""

    def wrong(self, value: object, or_null: str = "") -> str:
        """As `Bound.wrong`."""
        fits = isinstance(value, self.kind)
        return "" if fits else f" must be {self.wanted}{or_null}, not {shown(value)}."


@dataclass(frozen=True)
class Part:
    """A value of a dataclass, or one that has all that a protocol asks for."""

    kind: type
    words: str = ""

    def wrong(self, value: object, or_null: str = "") -> str:
        """As `Bound.wrong`."""
        parts = [vars(cls) for cls in self.kind.__mro__ if getattr(cls, "_is_protocol", False)]
        names = {name for part in parts for name in (*part, *part.get("__annotations__", ()))}
        fits = all(hasattr(value, name) for name in names if name[0] != "_" or name == "__call__")
        wanted = f"a part with a _target_ that makes a {self.kind.__name__}{or_null}"
        fits = fits and bool(parts or isinstance(value, self.kind))
        return "" if fits else f" must be {wanted}, not {shown(value)}."


PLAIN: Mapping[object, Bound] = {
    bool: Kind(bool, "true or false", "true or false"),
    int: Whole(None),
    float: Number(),
    str: Kind(str, "text"),
}
"""What a field takes whose annotation says no more than a type."""

Count = Annotated[int, Whole(1)]
CountFromZero = Annotated[int, Whole(0)]
Positive = Annotated[float, Number(above=0)]
NotNegative = Annotated[float, Number(at_least=0)]
Ratio = Annotated[float, Number(at_least=1)]
Share = Annotated[float, Number(at_least=0, at_most=1)]
ShareAboveZero = Annotated[float, Number(above=0, at_most=1)]
ShareBelowOne = Annotated[float, Number(at_least=0, below=1)]
Probability = Annotated[float, Number(above=0, below=1)]


def fields(made: object) -> None:
    """Raise `FieldRefused` for the first field of a dataclass whose value is out of its range.

    Fields of other types than numbers, truth values, text, ``Literal``, tuples and mappings of
    such, and these or None, take anything.
    """
    ranges = annotations(type(made))  # type: ignore[arg-type]  # mypy: no class is Hashable
    for name, annotation in ranges.items():
        for key, rest in wrong(annotation, name, getattr(made, name)):
            raise FieldRefused(type(made).__name__, key, rest)


def field_refused(made: object, key: str, rest: str) -> FieldRefused:
    """Return the refusal of one field for a reason that no range tells; ``rest`` ends it."""
    return FieldRefused(type(made).__name__, key, rest)


@cache
def annotations(cls: Any) -> Mapping[str, Any]:
    """Return the annotations of a dataclass's fields by name, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def bound(annotation: Any) -> tuple[Bound | None, bool]:
    """Return what fits an annotation, each element of a tuple or mapping; and whether None does.

    None stands for anything.
    """
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        kinds = [kind for kind in inside if kind is not NoneType]
        return bound(kinds[0])[0] if len(kinds) == 1 else None, len(kinds) < len(inside)
    if origin is Annotated:
        return inside[1], False
    if origin is Literal:
        return OneOf(inside), False
    if origin is tuple:
        return bound(inside[0])[0], False
    if origin is Mapping:
        return bound(inside[1])[0], False
    if dataclasses.is_dataclass(annotation) or getattr(annotation, "_is_protocol", False):
        return Part(annotation), False
    return PLAIN.get(annotation), False


def wrong(annotation: Any, key: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield each key below ``key`` whose value does not fit, and the sentence after it."""
    fits, or_none = bound(annotation)
    if fits is None or (or_none and value is None):
        return
    or_null = " or null" if or_none else ""
    if or_none:
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is tuple:
        kinds = get_args(annotation)
        many = "" if kinds[-1] is Ellipsis else f" of {len(kinds)} values"
        if not isinstance(value, list | tuple) or (many and len(value) != len(kinds)):
            yield key, f" must be a list{many}{or_null}, not {shown(value)}."
        else:
            each = ((f"{key}[{place}]", fits.wrong(one)) for place, one in enumerate(value))
            yield from filter(itemgetter(1), each)
    elif get_origin(annotation) is Mapping:
        if not isinstance(value, Mapping):
            yield key, f" must map names to values{or_null}, not {shown(value)}."
        else:
            each = ((f"{key}.{name}", fits.wrong(one)) for name, one in value.items())
            yield from filter(itemgetter(1), each)
    else:
        yield from filter(itemgetter(1), [(key, fits.wrong(value, or_null))])


def whole(name: str, value: object, *, at_least: int = 1) -> None:
    """Raise `Refused` unless ``value`` is an integer of at least ``at_least``."""
    require(name, Whole(at_least), value)


def number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise `Refused` unless ``value`` is a finite number within the bounds given."""
    require(name, Number(above, at_least, at_most, below), value)


def require(name: str, fits: Bound, value: object) -> None:
    """Raise `Refused` unless ``value`` fits."""
    if rest := fits.wrong(value):
        raise Refused(f"{name}{rest}")


def member(name: str, value: str, options: Iterable[str]) -> None:
    """Raise `Refused` unless ``value`` is one of ``options``; the message names the closest."""
    if value not in (known := sorted(options)):
        raise Refused(f"{name}={short(value)} does not exist{nearest(value, known)}")


def nearest(value: str, options: Iterable[str]) -> str:
    """Return ``; did you mean X? The choices are ….`` for the end of a sentence."""
    known = sorted(options)
    close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]}?" if close else "."
    return f"{guess} The choices are: {', '.join(known)}."
