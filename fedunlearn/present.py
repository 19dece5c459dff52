"""Who is who behind a Flower Grid, and the same Grid without those who left."""

from collections.abc import Iterable

from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedunlearn.checks import Refused
from fedunlearn.history import ClientId
from fedunlearn.server_app import wait_for

IDENTITY = "partition-id"
"""The metric by which a client says who it is."""


class Present(Grid):
    """A Flower Grid that shows only some nodes and sends nothing to any other."""

    def __init__(self, grid: Grid, nodes: frozenset[int]) -> None:
        self._grid = grid
        self._nodes = nodes

    def set_run(self, run: Run) -> None:
        """Pass on the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run of the whole grid."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are shown."""
        return [node for node in self._grid.get_node_ids() if node in self._nodes]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; raise PermissionError before any is sent if one is for another node."""
        return self._grid.push_messages(self._allowed(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return replies."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for replies; raise PermissionError as `push_messages` does."""
        return self._grid.send_and_receive(self._allowed(messages), timeout=timeout)

    def _allowed(self, messages: Iterable[Message]) -> list[Message]:
        checked = list(messages)
        hidden = sorted({m.metadata.dst_node_id for m in checked} - self._nodes)
        if hidden:
            raise PermissionError(f"Nodes {hidden} may not be asked: their clients have left.")
        return checked


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
