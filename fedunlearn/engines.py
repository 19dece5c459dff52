"""Where the two Flower apps run: in this process, or in Flower's Ray simulation."""

import logging
import os
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from flwr.app import ConfigRecordValues, Context, RecordDict

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.client_app import client_app, train_together
from fedunlearn.federation import Scenario
from fedunlearn.grid import InProcessGrid
from fedunlearn.server_app import Job, server_app


class Engine(Protocol):
    """Runs a job against the clients of a scenario."""

    def run(self, scenario: Scenario, job: Job) -> None:
        """Run ``job`` to its end; whatever it raises is raised here."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


@dataclass(frozen=True, slots=True)
class Ray:
    """Flower's Ray simulation: ``num_cpus`` and ``num_gpus`` (also a share) for each client."""

    num_cpus: int = 1
    num_gpus: float = 0.0

    def __post_init__(self) -> None:
        """Raise `Refused` for resources that this machine does not have."""
        checks.whole("engine.num_cpus", self.num_cpus)
        checks.number("engine.num_gpus", self.num_gpus, at_least=0)
        if self.num_gpus > torch.cuda.device_count():
            raise Refused(
                f"engine.num_gpus={self.num_gpus:g} asks for more than the "
                f"{torch.cuda.device_count()} GPUs of this machine. Set engine.num_gpus=0."
            )
        if self.num_cpus > cores():
            raise Refused(
                f"engine.num_cpus={self.num_cpus} asks for more than the {cores()} cores that "
                "this process may use."
            )

    def run(self, scenario: Scenario, job: Job) -> None:
        """Run ``job`` to its end."""
        from flwr.simulation import run_simulation  # imports Ray, which takes seconds

        logging.getLogger("flwr").setLevel(logging.ERROR)
        # Ray's coming default, which it warns of otherwise: a client without a GPU hides none.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        clients = scenario.partition.clients
        resources: dict[str, ConfigRecordValues] = {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
        }
        with warnings.catch_warnings():
            # Flower deprecates this call in favour of `flwr run`, which is no function.
            warnings.simplefilter("ignore", DeprecationWarning)
            run_simulation(
                server_app(job, clients),
                client_app(scenario),
                num_supernodes=clients,
                backend_config={
                    "client_resources": resources,
                    "init_args": {"logging_level": logging.ERROR, "log_to_driver": False},
                },
            )
