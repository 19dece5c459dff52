"""The engine in this process: threads that play clients, or whole cohorts as one batch."""

from dataclasses import dataclass
from functools import partial

from flwr.app import Context, RecordDict

from fedunlearn import checks
from fedunlearn.client_app import client_app, train_together
from fedunlearn.engines import cores
from fedunlearn.federation import Scenario
from fedunlearn.grid import InProcessGrid
from fedunlearn.server_app import Job, server_app


@dataclass(frozen=True, slots=True)
class Local:
    """Work in this process, with ``workers`` threads that each play one client at a time."""

    workers: int | None = None
    """None: as many as this process may use cores."""
    mode: str = "workers"
    """How a cohort is trained: each client by itself (``workers``: the same bits for any number
    of threads), or as one batch for each thread (``cohort``: faster without convolutions)."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless ``workers`` counts threads."""
        if self.workers is not None:
            checks.whole("engine.workers", self.workers)
        checks.member("engine.mode", self.mode, ("workers", "cohort"))

    def run(self, scenario: Scenario, job: Job) -> None:
        """Run ``job`` to its end."""
        clients = scenario.partition.clients
        together = partial(train_together, scenario) if self.mode == "cohort" else None
        app, workers = client_app(scenario), self.workers or cores()
        grid = InProcessGrid(app, clients, workers, together)
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        try:
            server_app(job, clients)(grid, context)
        finally:
            grid.close()
