"""Where the two Flower apps run: in this process, or in Flower's Ray simulation."""

import os
from typing import Protocol

from fedunlearn.federation import Scenario
from fedunlearn.server_app import Job


class Engine(Protocol):
    """Runs a job against the clients of a scenario."""

    @property
    def device(self) -> str:
        """Where the server measures models, as torch names it."""

    def describe(self, scenario: Scenario) -> str:
        """Say in a sentence how the clients of ``scenario`` will be trained."""

    def run(self, scenario: Scenario, job: Job) -> None:
        """Run ``job`` to its end; whatever it raises is raised here."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
