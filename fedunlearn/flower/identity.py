"""Who is who behind a Flower Grid: nodes tell which client's data they hold."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import (
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.unlearning import (
    ClientFailed,
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A Flower Grid, and which of its nodes plays which client."""

    grid: Grid
    nodes: Mapping[ClientId, int]
    """From the handshake: Flower draws node ids anew in every run."""


IDENTITY = "partition-id"
"""The metric by which a client says who it is."""


def require_nodes(grid: Grid, clients: int) -> None:
    """Wait until ``clients`` nodes are there; raise `Refused` if there are fewer or more."""
    count = len(wait_for(grid, clients))
    if count != clients:
        raise Refused(f"The federation has {count} clients, not clients={clients}.")


def queried(grid: Grid, clients: int, timeout: float) -> dict[ClientId, int]:
    """Ask every node which client it plays; raise `Refused` unless all of them answer."""
    messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    return introduced(grid.send_and_receive(messages, timeout=timeout), clients)


def introduced(replies: Iterable[Message], clients: int) -> dict[ClientId, int]:
    """Return the node of each client, from the metrics of replies of all ``clients``.

    Raises `Refused` unless they say that they are the clients 0 … clients - 1, each once.
    """
    nodes = [(said(reply), reply.metadata.src_node_id) for reply in replies]
    if any(client is None for client, _ in nodes):
        raise Refused(
            "The clients do not say who they are. Add one line to the metrics that your train "
            f'function returns: "{IDENTITY}": context.node_config["{IDENTITY}"]. If round 1 does '
            "not ask every client, answer a query with it as well (docs/flower.md)."
        )
    known = {client: node for client, node in nodes if client is not None}
    names = sorted(client for client, _ in nodes if client is not None)
    if names != list(range(clients)):
        raise Refused(
            f"Expected the clients 0 to {clients - 1}, each once; their {IDENTITY}s are {names}."
        )
    return dict(sorted(known.items()))


def said(reply: Message) -> ClientId | None:
    """Return the client who wrote ``reply``, or None if it does not say."""
    if reply.has_error() or IDENTITY not in metrics_of(reply):
        return None
    return int(str(metrics_of(reply)[IDENTITY]))


def metrics_of(reply: Message) -> MetricRecord:
    """Return the metrics of a reply, empty if there are none."""
    return next(iter(reply.content.metric_records.values()), MetricRecord())


SECONDS_TO_CONNECT = 120.0
"""How long nodes may take to register: Flower starts the ServerApp beside them, not after."""


def handshake(grid: Grid, clients: int) -> Connection:
    """Ask every node which data partition it holds; the clients are numbered by it.

    Flower draws node ids anew in every run, and only the client knows its partition.
    Raises `ClientFailed` unless partitions 0 … clients - 1 answer, each once.
    """
    messages = [Message(RecordDict(), node, "query") for node in wait_for(grid, clients)]
    nodes: dict[ClientId, int] = {}
    for reply in grid.send_and_receive(messages):
        if reply.has_error():
            raise ClientFailed(f"A client failed in the handshake: {reply.error.reason}")
        client = int(str(reply.content.metric_records["metrics"]["partition-id"]))
        if client in nodes:
            raise ClientFailed(f"Two nodes say that they hold partition {client}.")
        nodes[client] = reply.metadata.src_node_id
    if sorted(nodes) != list(range(clients)):
        raise ClientFailed(f"Expected clients 0 to {clients - 1}; these answered: {sorted(nodes)}.")
    return Connection(grid, dict(sorted(nodes.items())))


def wait_for(grid: Grid, count: int) -> list[int]:
    """Return the node ids once there are ``count`` of them, or those there are in the end."""
    deadline = time.monotonic() + SECONDS_TO_CONNECT
    while len(present := list(grid.get_node_ids())) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return present
