"""Who is who behind a Flower Grid: nodes tell which client's data they hold.

Flower draws node ids anew in every run, and only the client knows its partition.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.unlearning import ClientFailed


@dataclass(frozen=True, slots=True)
class Connection:
    """A Flower Grid, and which of its nodes plays which client."""

    grid: Grid
    nodes: Mapping[ClientId, int]
    """From the handshake: Flower draws node ids anew in every run."""


IDENTITY = "partition-id"
"""The key under which Flower tells a client its partition, and the client tells the server."""

SECONDS_TO_CONNECT = 120.0
"""How long nodes may take to register: Flower starts the ServerApp beside them, not after."""


def partition_of(context: Context) -> ClientId:
    """Return which client's data a node holds, from what Flower tells it."""
    return int(str(context.node_config[IDENTITY]))


def introduction(context: Context) -> MetricRecord:
    """Return the metrics by which a client tells who it is."""
    return MetricRecord({IDENTITY: partition_of(context)})


def handshake(grid: Grid, clients: int) -> Connection:
    """Ask every node which client it plays.

    Raises `ClientFailed` if a client fails, and `Refused` as `nodes_by_client` does.
    """
    replies = queried(grid, wait_for(grid, clients))
    for reply in replies:
        if reply.has_error():
            raise ClientFailed(f"A client failed in the handshake: {reply.error.reason}")
    return Connection(grid, nodes_by_client(replies, clients))


def queried(grid: Grid, nodes: Iterable[int], timeout: float | None = None) -> list[Message]:
    """Ask ``nodes`` which clients they play and return the replies, with errors among them."""
    messages = [Message(RecordDict(), node, "query") for node in nodes]
    return list(grid.send_and_receive(messages, timeout=timeout))


def nodes_by_client(replies: Iterable[Message], clients: int) -> dict[ClientId, int]:
    """Return the node of each client, from the metrics of replies of all ``clients``.

    Raises `Refused` unless they tell that they are the clients 0 … clients - 1, each once.
    """
    pairs = [(client_of(reply), reply.metadata.src_node_id) for reply in replies]
    nodes = {client: node for client, node in pairs if client is not None}
    if any(client is None for client, _ in pairs):
        raise Refused(
            "The clients do not say who they are. Add one line to the metrics that your train "
            f'function returns: "{IDENTITY}": context.node_config["{IDENTITY}"]. If round 1 does '
            "not ask every client, answer a query with it as well (docs/flower.md)."
        )
    names = sorted(client for client, _ in pairs if client is not None)
    if names != list(range(clients)):
        raise Refused(
            f"Expected the clients 0 to {clients - 1}, each once; their {IDENTITY}s are {names}."
        )
    return dict(sorted(nodes.items()))


def client_of(reply: Message) -> ClientId | None:
    """Return the client who wrote ``reply``, or None if it does not tell."""
    if reply.has_error() or IDENTITY not in metrics_of(reply):
        return None
    return int(str(metrics_of(reply)[IDENTITY]))


def metrics_of(reply: Message) -> MetricRecord:
    """Return the metrics of a reply, empty if there are none."""
    return next(iter(reply.content.metric_records.values()), MetricRecord())


def require_nodes(grid: Grid, clients: int) -> None:
    """Wait until ``clients`` nodes are there; raise `Refused` if there are fewer or more."""
    count = len(wait_for(grid, clients))
    if count != clients:
        raise Refused(f"The federation has {count} clients, not clients={clients}.")


def wait_for(grid: Grid, count: int) -> list[int]:
    """Return the node ids once there are ``count`` of them, or those there are in the end."""
    deadline = time.monotonic() + SECONDS_TO_CONNECT
    while len(present := list(grid.get_node_ids())) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return present
