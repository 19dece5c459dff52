"""Where the two Flower apps run: in this process, or in Flower's Ray simulation."""

from collections.abc import Iterable
from typing import Protocol

from fedunlearn.data import Scenario
from fedunlearn.flower.server_app import Job


class Engine(Protocol):
    """Runs a job against the clients of a scenario."""

    @property
    def device(self) -> str:
        """Where the server measures models, as torch names it."""

    def describe(self, scenario: Scenario) -> str:
        """Say in a sentence how the clients of ``scenario`` will be trained."""

    def run(self, scenario: Scenario, job: Job, kinds: Iterable[type] = ()) -> None:
        """Run ``job`` to its end; whatever it raises is raised here.

        ``kinds`` are classes of work that clients know besides ours; see `messages.kinds_in`.
        """
