"""Flower's Ray simulation: clients in processes of their own, here or on a cluster."""

import logging
import os
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from flwr.app import ConfigRecordValues, Context
from flwr.serverapp import Grid, ServerApp

from fedunlearn import checks
from fedunlearn.checks import Count, NotNegative, Refused
from fedunlearn.data import ClientId, Scenario
from fedunlearn.flower.client_app import build_client_app
from fedunlearn.flower.engines.watched_grid import Watched
from fedunlearn.flower.identity import handshake
from fedunlearn.flower.server_app import Job
from fedunlearn.threads import cores


@dataclass(frozen=True, slots=True)
class Ray:
    """Flower's Ray simulation: ``num_cpus`` and ``num_gpus`` (also a share) for each client.

    An address is ``host:port`` of a cluster that this machine is part of. Flower keeps
    ``os.cpu_count() + 4`` clients at work at most, and 32.
    """

    num_cpus: Count = 1
    """Cores for each client."""
    num_gpus: NotNegative = 0.0
    """GPUs for each client; 0.25 lets four share one."""
    address: str | None = None
    """Address of the Ray cluster to join, or ``auto`` for the one found here; None: a Ray of one's
    own, which ends after the run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for what this machine, or every machine of the cluster, lacks."""
        checks.fields(self)
        if self.num_gpus > 1 and self.num_gpus % 1:
            raise checks.field_refused(
                self,
                "num_gpus",
                f"={self.num_gpus:g} cannot be had: Ray gives a client a share of one GPU, or "
                "whole ones.",
            )
        if self.address is not None:
            self._located(self.address)
        elif self.num_gpus > torch.cuda.device_count():
            raise checks.field_refused(
                self,
                "num_gpus",
                f"={self.num_gpus:g} asks for more than the {torch.cuda.device_count()} GPUs of "
                "this machine. Set it to 0.",
            )
        elif self.num_cpus > cores():
            raise checks.field_refused(
                self,
                "num_cpus",
                f"={self.num_cpus} asks for more than the {cores()} cores that this process may "
                "use.",
            )

    @property
    def device(self) -> str:
        """Where the server measures models: on a GPU if clients use some and this machine has."""
        return "cuda" if self.num_gpus and torch.cuda.is_available() else "cpu"

    @property
    def resources(self) -> dict[str, ConfigRecordValues]:
        """What is reserved for each client; a share of a GPU is rounded up to 1 / n.

        Flower starts ``GPUs / share`` workers, but each GPU holds ``1 / share``, rounded down: the
        others would wait forever, and with them the clients that they are sent.
        """
        shared = 0 < self.num_gpus < 1
        share = 1 / int(1 / self.num_gpus + 1e-9) if shared else self.num_gpus
        return {"num_cpus": self.num_cpus, "num_gpus": share}

    def describe(self, scenario: Scenario) -> str:
        """Say in a sentence how the clients of ``scenario`` will be trained."""
        where = "this machine" if self.address is None else f"the cluster at {self.address}"
        return (
            f"Clients train in Ray's processes on {where}, each with num_cpus={self.num_cpus} and "
            f"num_gpus={self.num_gpus:g}."
        )

    def run(self, scenario: Scenario, job: Job, kinds: Iterable[type] = ()) -> None:
        """Run ``job`` to its end; a process of Ray's that dies ends it with `ClientFailed`."""
        _ray()
        from flwr.simulation import run_simulation

        logging.getLogger("flwr").setLevel(logging.CRITICAL)  # its errors are raised
        # Given no address, Ray joins any cluster that it finds here; given no number, it takes
        # all cores, also those that this process may not use.
        init_args: dict[str, ConfigRecordValues] = (
            {"address": "local", "num_cpus": cores()}
            if self.address is None
            else {"address": self._located(self.address)}
        )
        init_args |= {"logging_level": logging.ERROR, "log_to_driver": False}
        clients, over = scenario.partition.clients, threading.Event()
        threads: list[threading.Thread] = []
        app = ServerApp()

        @app.main()
        def main(grid: Grid, context: Context) -> None:
            threads.append(threading.current_thread())
            players: dict[int, ClientId] = {}
            connection = handshake(cast(Grid, Watched(grid, over, players)), clients)
            players.update({node: client for client, node in connection.nodes.items()})
            job(connection)

        path = os.environ.get("PYTHONPATH", "")
        try:
            run_simulation(
                app,
                build_client_app(scenario, "cuda" if self.num_gpus else "cpu", kinds),
                num_supernodes=clients,
                backend_config={"client_resources": self.resources, "init_args": init_args},
            )
        finally:
            over.set()  # whether Ray broke or somebody interrupts: Flower lets its thread wait on
            for thread in threads:
                thread.join()
            os.environ["PYTHONPATH"] = path  # Flower makes it longer with every run

    def _located(self, address: str) -> str:
        """Return a cluster's ``host:port``; raise `Refused` if no machine there fits a client."""
        where, machines = _cluster(address)
        offers = sorted({(has.get("CPU", 0), has.get("GPU", 0)) for has in machines if has})
        if not any(cpus >= self.num_cpus and gpus >= self.num_gpus for cpus, gpus in offers):
            listed = ", ".join(f"{cpus:g} CPU and {gpus:g} GPU" for cpus, gpus in offers)
            raise Refused(
                f"engine.num_cpus={self.num_cpus} and engine.num_gpus={self.num_gpus:g} ask for "
                f"more than any machine of the Ray cluster at {where} has: {listed}."
            )
        return where


def _cluster(address: str) -> tuple[str, list[dict[str, float]]]:
    """Join a cluster for a look; return its ``host:port`` and what each of its machines has."""
    ray = _ray()
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        where = str(canonicalize_bootstrap_address_or_die(str(address)))
        host, _, port = where.rpartition(":")
        # Ray itself would try for minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        ray.init(where, logging_level=logging.CRITICAL, log_to_driver=False)
        return where, [node["Resources"] for node in ray.nodes()]
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise Refused(
            f"engine.address={address}: no Ray cluster can be joined there. `ray start --head` "
            "starts one here, and `ray start --address=…` makes this machine part of another, "
            f"which has the same Ray and Python. ({' '.join(str(error).split())})"
        ) from None
    finally:
        ray.shutdown()


def _ray() -> Any:
    """Import Ray, which takes seconds; refuse if it is in use: Flower would end the connection."""
    # Ray's coming default, which it warns of otherwise: a client without a GPU hides none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        raise Refused("Ray is in use in this process already. Call ray.shutdown() first.")
    return ray
