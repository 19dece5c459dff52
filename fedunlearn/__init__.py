"""A federated-learning simulator in which clients may leave and must be forgotten."""

import os

__version__ = "0.2.0"

# Flower reads these when it is imported; a user who wants telemetry sets them.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
