"""fedunlearn as its users run it: the local engine, its clients, and what training records."""

from collections.abc import Iterable

import torch

from benchmarks.workloads import WORK, Workload
from fedunlearn.data import Scenario, build_federation
from fedunlearn.flower import Connection, Local, grid_clients
from fedunlearn.history import History, Needs
from fedunlearn.unlearning import FederationState, Ledger, ProxyData, ScopedClients, Training, train


def contend(
    turns: Iterable[int],
    workload: Workload,
    mode: str,
    device: str = "cpu",
    cohort: float = 1.0,
) -> None:
    """Train with ``engine.mode=mode``, a share ``cohort`` of the clients in every round."""
    torch.set_num_threads(1)  # as every run of fedunlearn does
    scenario, training = workload.scenario, Training(cohort=cohort, work=WORK)

    def job(connection: Connection) -> None:
        for rounds in turns:
            everybody = clients(connection, scenario, training)
            for _ in everybody.rounds(build_federation(scenario).initial, 1, rounds):
                pass

    Local(mode=mode, device=device).run(scenario, job)


def recorded(turns: Iterable[int], workload: Workload, mode: str, needs: Needs) -> None:
    """Train as a run does before a withdrawal, keeping of every round what ``needs`` asks."""
    torch.set_num_threads(1)
    scenario, training = workload.scenario, Training(work=WORK)

    def job(connection: Connection) -> None:
        here = build_federation(scenario)
        for rounds in turns:
            everybody = clients(connection, scenario, training)
            start = History(here.network.layout, here.initial, here.initial)
            for _ in train(FederationState(start, everybody.ids), everybody, rounds, needs):
                pass

    Local(mode=mode, device="cpu").run(scenario, job)


def clients(connection: Connection, scenario: Scenario, training: Training) -> ScopedClients:
    """Return all clients of a scenario, with an empty ledger."""
    here = build_federation(scenario)
    unlabelled = ProxyData(here.network, here.proxy, Ledger(), scenario.seed)
    return grid_clients(connection, training, unlabelled)
