"""A Flower Grid without those who left."""

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


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
