"""Flower's Ray simulation: clients in processes of their own, here or on a cluster."""

import logging
import os
import warnings
from dataclasses import dataclass

import torch
from flwr.app import ConfigRecordValues

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.client_app import client_app
from fedunlearn.engines import cores
from fedunlearn.federation import Scenario
from fedunlearn.server_app import Job, server_app


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
