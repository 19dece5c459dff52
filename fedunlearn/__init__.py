"""A federated-learning simulator in which clients may leave and must be forgotten."""

import os
from pathlib import Path

__version__ = "0.2.0"

# Flower reads these when it is imported; a user who wants telemetry sets them.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

# A wheel holds conf/ and simulations/ in this folder, a checkout beside it: both by one name.
_here = Path(__file__).parent
if not (_here / "simulations").is_dir():
    __path__.append(str(_here.parent))
