"""The engine in this process: threads that play clients, or whole cohorts as one batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from flwr.app import Context, RecordDict

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data import Scenario, build_federation, held_shards, shards_on
from fedunlearn.flower.client_app import answer_together, build_client_app
from fedunlearn.flower.in_process_grid import InProcessGrid
from fedunlearn.flower.server_app import Job, build_server_app
from fedunlearn.local import ChunkedTrainer, Halves, Threads, fitting_clients
from fedunlearn.models import Network
from fedunlearn.threads import cores, one_torch_thread

SMALL = 100_000
"""Weights up to which a CPU trains dense nets faster together than each client by itself."""

FEWEST = 4
"""Clients that must fit into a piece of a cohort: calls that two or three share are not cheaper."""


@dataclass(frozen=True, slots=True)
class Local:
    """Work in this process, on ``device``, with ``workers`` threads.

    Every mode gives the same bits for any number of threads; ``auto`` chooses by `choose`.
    """

    workers: Count | None = None
    """Threads; None: as many as this process may use cores."""
    mode: Literal["auto", "workers", "cohort", "halves"] = "auto"
    """How clients train: each by itself (workers), as one batch (cohort), each on two threads, its
    batches in halves (halves), or one of the first two, by net and device (auto)."""
    device: str = "auto"
    """Where to compute, as torch names it: cpu, cuda, cuda:1; auto: a GPU if there is one."""

    def __post_init__(self) -> None:
        """Raise `Refused` for what this machine does not have."""
        checks.fields(self)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        object.__setattr__(
            self, "device", _device(device if self.device == "auto" else self.device)
        )

    def choice(self, network: Network) -> tuple[str, str]:
        """Return the mode in which ``network`` is trained, and why.

        One that draws random numbers in training is trained by each client itself, whatever the
        mode: what a client draws must not depend on who else is in its batch. So is one that torch
        cannot compute for many clients at once.
        """
        if network.stochastic:
            return "workers", "the model draws random numbers in training, each client its own"
        chosen = (
            choose(network, self.device)
            if self.mode == "auto"
            else (self.mode, "as engine.mode says")
        )
        if chosen[0] == "cohort" and network.alone:
            return "workers", f"many clients cannot share a pass of the model ({network.alone})"
        return chosen

    def describe(self, scenario: Scenario) -> str:
        """Say in a sentence how the clients of ``scenario`` will be trained."""
        mode, why = self.choice(build_federation(scenario).network)
        threads = self.workers or cores()
        how = {
            "workers": f"each client by itself, on {threads} threads",
            "cohort": f"many clients as one batch, on up to {threads} threads",
            "halves": f"each client's batches in halves, on {threads} threads",
        }
        return f"Clients train on {self.device} in mode {mode} ({how[mode]}): {why}."

    def trainer(self, scenario: Scenario) -> ChunkedTrainer | Threads:
        """Return what trains the clients of ``scenario`` without messages, for a bank."""
        network, shards = build_federation(scenario).network, shards_on(scenario, self.device)
        workers = self.workers or cores()
        match self.choice(network)[0]:
            case "cohort":
                return ChunkedTrainer(network, shards, workers)
            case "halves":
                halves = Halves(together=workers > 1)
                return Threads(network, shards, -(-workers // 2), halves)
            case _:
                return Threads(network, shards, workers)

    def run(self, scenario: Scenario, job: Job, kinds: Iterable[type] = ()) -> None:
        """Run ``job`` to its end."""
        clients = scenario.partition.clients
        trainer = self.trainer(scenario)
        records_of = partial(held_shards, scenario, self.device)
        together = (
            partial(answer_together, trainer, records_of)
            if isinstance(trainer, ChunkedTrainer)
            else None
        )
        halves = None if isinstance(trainer, ChunkedTrainer) else trainer.halves
        app = build_client_app(scenario, self.device, kinds, halves)
        grid = InProcessGrid(app, clients, trainer.workers, together)
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        try:
            with one_torch_thread():  # a batch of clients is trained in this thread
                build_server_app(job, clients)(grid, context)
        finally:
            grid.close()


def choose(network: Network, device: str) -> tuple[str, str]:
    """Return the mode that is faster for a net on a device, and why.

    The rule is what benchmarks/throughput.py measures; `fedunlearn doctor` measures anew.
    """
    if device != "cpu":
        return "cohort", "a GPU is busy only with many clients at once"
    if network.convolutional:
        return "workers", "convolutions gain nothing from a batch of clients on a CPU"
    if network.layout.size > SMALL:
        return (
            "workers",
            f"the weights of many clients, {network.layout.size:,} each, outgrow a CPU's caches",
        )
    if fitting_clients(network) < FEWEST:
        return "workers", "what a step of one client keeps outgrows a CPU's caches with a few more"
    return "cohort", "small dense nets spend their time on calls, which a batch of clients shares"


def _device(name: str) -> str:
    """Return the name if torch can compute there; raise `Refused` otherwise."""
    named = f"engine.device={checks.short(name)}"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise Refused(f"{named} is no device; try cpu, cuda or cuda:1.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Refused(
            f"{named} is not there: torch sees {torch.cuda.device_count()} GPUs. "
            "Set engine.device=cpu, or leave it out."
        )
    try:
        computed = float(torch.ones(1, device=device) + 1) == 2
    except Exception:  # each backend that torch only knows by name fails in its own way
        computed = False
    if not computed or (device.type == "cpu" and device.index):
        raise Refused(
            f"{named} exists in name only: torch cannot compute there on this "
            "machine. Set engine.device=cpu, or leave it out."
        )
    return name
