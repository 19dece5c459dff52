"""What fedunlearn's numbers of speed and memory are measured with; see docs/performance.md."""

import os

# Flower reads it when it is imported: a benchmark sends nothing anywhere.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
