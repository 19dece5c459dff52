"""Which settings of a strategy are tried: its own, then draws from those that its sweep lists."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fedunlearn import files
from fedunlearn.checks import Refused

from . import search_path

OWN = "strategy."
"""How the keys begin that are a strategy's own; the comparison's others stay as they are."""


def listed(name: str) -> dict[str, list[object]]:
    """Return the values of each field of a strategy that ``conf/sweep/<name>.yaml`` lists.

    Nothing for a strategy without a sweep. Raises `Refused` for values that cannot be read, and
    for an interval, which is no list.
    """
    path = next(
        (
            path
            for folder in search_path.folders()
            if (path := folder / "sweep" / f"{name}.yaml").is_file()
        ),
        None,
    )
    if path is None:
        return {}
    found = files.read_yaml(path, "a sweep")
    params = found
    for step in ("hydra", "sweeper", "params"):
        params = params.get(step) if isinstance(params, dict) else None
    if not isinstance(params, dict):
        raise Refused(f"{path} has no hydra.sweeper.params: what values are to be tried?")
    return {
        key.removeprefix(OWN): _values(f"{path}: {key}", str(values))
        for key, values in params.items()
        if key.startswith(OWN)
    }


def _values(where: str, words: str) -> list[object]:
    """Return the values that Hydra's ``words`` list, ``1,2,4`` or ``range(1,9)`` say."""
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(f"key={words}")
        if override.is_interval_sweep():
            raise Refused(f"{where} is an interval; fedunlearn tune draws from lists: 1,2,4.")
        if not override.is_sweep_override():
            return [override.value()]
        each = override.sweep_string_iterator()
        return [parser.parse_override(f"key={value}").value() for value in each]
    except HydraException as error:
        raise Refused(f"{where} cannot be read: {str(error).splitlines()[0]}") from None


def drawn(name: str, seeds: Sequence[int]) -> Iterator[Mapping[str, object]]:
    """Yield every combination of the values listed for a strategy once, in random order.

    The order is a function of the validation ``seeds`` and ``name`` alone.
    """
    fields = listed(name)
    if not fields:
        return
    points = list(itertools.product(*fields.values()))
    random.Random(f"{list(seeds)} {name}").shuffle(points)
    for point in points:
        yield dict(zip(fields, point, strict=True))
