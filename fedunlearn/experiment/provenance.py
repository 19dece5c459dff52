"""What a run was made of: versions, commit, and hashes of its data and schedule."""

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import fedunlearn
from fedunlearn.data import Federation
from fedunlearn.models import PartlyFrozen
from fedunlearn.unlearning import Join, Request, Training, changes, cohort

PACKAGES = ("torch", "torchvision", "flwr", "hydra-core", "numpy", "scikit-learn", "pandas")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of those whose numbers it depends on."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "fedunlearn": fedunlearn.__version__, **packages}


def commit() -> str | None:
    """Return the git commit of the checkout that this code runs from, if it is one."""
    checkout = Path(fedunlearn.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    answer = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None


def split_hash(federation: Federation) -> str:
    """Return the SHA-256 of every client's records, of the test set and of the proxy inputs.

    They count as they were before a frozen part of the model looked at them, and that part counts.
    """
    digest, source, model = hashlib.sha256(), federation.source, federation.scenario.model
    for records in (*source.train, *source.heldout, source.dataset.test):
        digest.update(records.inputs.numpy().tobytes())
        digest.update(records.labels.numpy().tobytes())
    digest.update(source.proxy.numpy().tobytes())
    if isinstance(model, PartlyFrozen):
        digest.update(model.digest.encode())
    return digest.hexdigest()


def schedule_hash(training: Training, clients: int, seed: int) -> str:
    """Return the SHA-256 of the cohorts of all rounds while everybody is present."""
    size = training.cohort_size(clients)
    rounds = [cohort(range(clients), size, seed, r) for r in range(1, training.rounds + 1)]
    return hashlib.sha256(repr(rounds).encode()).hexdigest()


def timeline_hash(requests: Sequence[Request], joins: Sequence[Join]) -> str:
    """Return the SHA-256 of who asks for what and who joins, and when: a file may have said it."""
    arrived = [request.arrived for request in requests]
    return hashlib.sha256(repr((changes(requests, joins), arrived)).encode()).hexdigest()
