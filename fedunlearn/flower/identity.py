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
from fedunlearn.flower.replies import paired
from fedunlearn.unlearning import ClientFailed


@dataclass(frozen=True, slots=True)
class Connection:
    """A Flower Grid, and which of its nodes plays which client."""

    grid: Grid
    nodes: Mapping[ClientId, int]
    """From the handshake: Flower draws node ids anew in every run."""


IDENTITY = "partition-id"
"""The key under which Flower tells a client its partition, and the client tells the server."""

SPELLINGS = (IDENTITY, "partition_id")
"""The keys under which clients of somebody's own app may tell it."""

ANONYMOUS = (
    "The clients do not say who they are. Add one line to the metrics that your train function "
    f'returns: "{IDENTITY}": context.node_config["{IDENTITY}"]. If round 1 does not ask every '
    "client, answer a query with it as well (docs/flower.md)."
)

SECONDS_TO_ANSWER = 3600.0
"""How long nodes may take to tell who they are: they may wait for each other's processes."""

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

    Raises `ClientFailed` if a client fails or says what no client is, and `Refused` as
    `nodes_by_client` does.
    """
    good, wrong = queried(grid, wait_for(grid, clients), SECONDS_TO_ANSWER)
    if wrong:
        lines = [
            f"The client on node {node}, asked who it is, {why}" for node, why in wrong.items()
        ]
        raise ClientFailed("\n".join(lines))
    return Connection(grid, nodes_by_client(good.values(), clients))


def queried(
    grid: Grid, nodes: Iterable[int], timeout: float
) -> tuple[dict[int, Message], dict[int, str]]:
    """Ask ``nodes`` which clients they play; return replies and what is wrong as `paired` does."""
    messages = [Message(RecordDict(), node, "query") for node in nodes]
    return paired(messages, grid.send_and_receive(messages, timeout=timeout), timeout)


def nodes_by_client(replies: Iterable[Message], clients: int) -> dict[ClientId, int]:
    """Return the node of each client, from the metrics of replies of all ``clients``.

    Raises `Refused` unless they tell that they are the clients 0 … clients - 1, each once.
    """
    claims = [(reply.metadata.src_node_id, claim_of(reply)) for reply in replies]
    claims.sort(key=lambda claim: claim[0])
    if any(claim is None for _, claim in claims):
        raise Refused(ANONYMOUS)
    nodes: dict[ClientId, int] = {}
    wrong: list[str] = []
    for node, claim in claims:
        client = next((client for client in range(clients) if client == claim), None)
        if client is None:
            wrong.append(f"The client on node {node} says that it is client {claim}.")
        elif client in nodes:
            wrong.append(f"Nodes {nodes[client]} and {node} both say that they are client {claim}.")
        else:
            nodes[client] = node
    if wrong or len(nodes) != clients:
        names = ", ".join(sorted((str(claim) for _, claim in claims), key=lambda c: (len(c), c)))
        wrong.append(
            f"Expected the clients 0 to {clients - 1}, each once; their {IDENTITY}s are [{names}]."
        )
        raise Refused(" ".join(wrong))
    return dict(sorted(nodes.items()))


def claim_of(reply: Message) -> int | float | list[int] | list[float] | None:
    """Return who the client that wrote ``reply`` says it is, or None if it does not tell."""
    told = {} if reply.has_error() else metrics_of(reply)
    return next((told[name] for name in SPELLINGS if name in told), None)


def forget_identity(metrics: MetricRecord) -> None:
    """Take out of aggregated metrics what tells who somebody is: its mean means nothing."""
    for name in SPELLINGS:
        metrics.pop(name, None)


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
