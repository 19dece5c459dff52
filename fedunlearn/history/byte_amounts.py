"""Amounts of bytes as people write them."""

import re

from fedunlearn import checks
from fedunlearn.checks import Refused

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}

BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse(budget: object) -> float:
    """Read a number of bytes: ``2GB``, ``500 MB``, ``1.5 GiB`` or a plain number.

    Raises `Refused` for anything else, and for nothing.
    """
    text = str(budget).strip().lower()
    match = re.fullmatch(r"([0-9]+\.?[0-9]*(?:e[+]?[0-9]+)?)\s*(?:([kmgt]?)(i?)b?)", text)
    unit = (BINARY if match and match[3] else UNITS).get(match[2]) if match else None
    if isinstance(budget, bool) or not match or unit is None or not 0 < float(match[1]) < 1e18:
        raise Refused(
            f"history.budget must be an amount such as 2GB or 500 MB, not {checks.shown(budget)}."
        )
    return float(match[1]) * unit


def written(nbytes: float) -> str:
    """Write bytes in a unit that suits them: 1.9 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if nbytes >= unit:
            return f"{nbytes / unit:,.1f} {name}"
    return f"{nbytes:,.0f} bytes"
