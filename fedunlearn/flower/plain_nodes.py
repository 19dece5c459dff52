"""Nodes of a Flower Grid whose app tells only in its replies which clients they play."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from fedunlearn.data import ClientId
from fedunlearn.flower.identity import client_of, nodes_by_client, queried
from fedunlearn.flower.scoped_grid import Present
from fedunlearn.unlearning import ClientFailed


@dataclass(frozen=True)
class PlainNodes:
    """A grid, and what its nodes have told of who they are."""

    grid: Grid
    timeout: float
    """Seconds to wait for replies."""
    of: dict[ClientId, int] = field(default_factory=dict)
    """Which node plays which client; empty until the first replies."""

    def present(self, clients: Set[ClientId]) -> Grid:
        """Return the grid with the nodes of ``clients`` alone; all of them before any is known."""
        nodes = [self.of[client] for client in clients] if self.of else self.grid.get_node_ids()
        return Present(self.grid, frozenset(nodes))

    def ask(self, messages: Sequence[Message], clients: Set[ClientId]) -> dict[ClientId, Message]:
        """Send ``messages``, one a client of ``clients``; return the replies, ascending by client.

        Raises `ClientFailed` if any client fails or does not answer, and `Refused` if nobody can
        tell who is who. Apps are queried only where train replies do not tell: Flower logs every
        query that an app does not know as an error.
        """
        if not self.of and len(messages) < len(clients):
            self.of.update(self._queried(len(clients)))
        answers = self.present(clients).send_and_receive(messages, timeout=self.timeout)
        by_node = {answer.metadata.src_node_id: answer for answer in answers}
        self._require_all(by_node, (message.metadata.dst_node_id for message in messages))
        if not self.of:
            identified = all(client_of(reply) is not None for reply in by_node.values())
            self.of.update(
                nodes_by_client(by_node.values(), len(clients))
                if identified
                else self._queried(len(clients))
            )
        return {c: by_node[node] for c, node in sorted(self.of.items()) if node in by_node}

    def _require_all(self, replies: dict[int, Message], nodes: Iterable[int]) -> None:
        """Raise `ClientFailed` unless every one of ``nodes`` replied without an error."""
        names = {node: f"Client {client}" for client, node in self.of.items()}
        failures: list[str] = []
        for node in nodes:
            name = names.get(node, f"The client on node {node}")
            if node not in replies:
                failures.append(f"{name} did not answer within {self.timeout:g} seconds.")
            elif replies[node].has_error():
                failures.append(f"{name} failed: {replies[node].error.reason}")
        if failures:
            raise ClientFailed("\n".join(failures))

    def _queried(self, clients: int) -> dict[ClientId, int]:
        """Ask every node which of ``clients`` clients it plays."""
        replies = queried(self.grid, self.grid.get_node_ids(), self.timeout)
        return nodes_by_client(replies, clients)
