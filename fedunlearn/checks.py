"""Checks of what a user asked for: each failure is one sentence, raised before any training."""

import difflib
import math
from collections.abc import Iterable


class Refused(ValueError):
    """Input that cannot be served; the message says what is wrong, where, and what to do."""


def whole(name: str, value: object, *, at_least: int = 1) -> None:
    """Raise `Refused` unless ``value`` is an integer of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise Refused(f"{name} must be a whole number of at least {at_least}, not {value!r}.")


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
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (
            ("above", above),
            ("at least", at_least),
            ("at most", at_most),
            ("below", below),
        )
        if bound is not None
    ]
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not fits:
        wanted = " ".join(["a number", " and ".join(bounds)]).rstrip()
        raise Refused(f"{name} must be {wanted}, not {value!r}.")


def member(name: str, value: str, options: Iterable[str]) -> None:
    """Raise `Refused` unless ``value`` is one of ``options``; the message names the closest."""
    known = sorted(options)
    if value not in known:
        raise Refused(f"{name}={value} does not exist{nearest(value, known)}")


def nearest(value: str, options: Iterable[str]) -> str:
    """Return ``; did you mean X? The choices are ….`` for the end of a sentence."""
    known = sorted(options)
    close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]}?" if close else "."
    return f"{guess} The choices are: {', '.join(known)}."
