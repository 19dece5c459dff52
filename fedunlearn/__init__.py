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


def __getattr__(name: str) -> object:
    """Find `simulate` when it is asked for: it brings Hydra and pandas along."""
    if name != "simulate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("fedunlearn.simulations.simulate").simulate


def __dir__() -> list[str]:
    """List `simulate` as well, which is found when it is asked for."""
    return sorted({*globals(), "simulate"})
