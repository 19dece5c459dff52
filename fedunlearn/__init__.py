"""A federated-learning simulator in which clients may leave and must be forgotten."""

import os

__version__ = "0.2.0"

# Flower reads these when it is imported; a user who wants telemetry sets them.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

# A wheel holds conf/ and simulations/ in this folder, a checkout beside it: both by one name.
_here = os.path.dirname(__file__)  # pathlib would take a quarter of the time of --help
if not os.path.isdir(os.path.join(_here, "simulations")):
    __path__.append(os.path.dirname(_here))


_LAZY = {"simulate": "simulate", "Simulation": "simulation"}
"""Names that bring Hydra and pandas along, and their files: found when they are asked for."""


def __getattr__(name: str) -> object:
    """Find one of `_LAZY`."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fedunlearn.simulations.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    """List those of `_LAZY` as well."""
    return sorted({*globals(), *_LAZY})
