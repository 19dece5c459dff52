"""What every branch of a seed starts with: the untrained federation, its clients, the proxy."""

from dataclasses import replace

import torch

from fedunlearn.data import Federation
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.reference_seeds import first_model, training_seed
from fedunlearn.flower import Connection, grid_clients
from fedunlearn.history import History, Policy, RecordRound
from fedunlearn.unlearning import FederationState, Ledger, ProxyData, ScopedClients


def before_training(federation: Federation, policy: Policy) -> FederationState:
    """Return where ``federation`` stands before round 1."""
    layout, initial = federation.network.layout, federation.initial
    history = History(layout, initial, initial, policy=policy)
    return FederationState(history, frozenset()).with_members(federation.holdings.since(0))


def with_first_model(state: FederationState, federation: Federation, name: str) -> FederationState:
    """Let the history begin with the first model of the branch ``name``."""
    return replace(state, history=replace(state.history, initial=first_model(federation, name)))


def recorded_by(record: RecordRound, state: FederationState) -> FederationState:
    """Let ``record`` take the rounds to come."""
    return replace(state, history=replace(state.history, record=record))


def server_data(
    experiment: Experiment, federation: Federation, name: str, ledger: Ledger
) -> ProxyData:
    """Return the server's unlabelled records as the branch ``name`` uses them."""
    images = federation.proxy.to(torch.device(experiment.engine.device))
    return ProxyData(
        federation.network,
        images,
        ledger,
        training_seed(federation.scenario.seed, name),
        verification=federation.verification_sets,
        earlier=federation.earlier_verification_sets,
    )


def all_clients(
    experiment: Experiment, federation: Federation, connection: Connection, name: str
) -> ScopedClients:
    """Return all clients as the branch ``name`` asks them, charging a new ledger."""
    unlabelled = server_data(experiment, federation, name, Ledger())
    return grid_clients(connection, experiment.training, unlabelled)
