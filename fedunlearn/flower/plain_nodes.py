"""Nodes of a Flower Grid whose app tells only in its replies which clients they play."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.client_state import told
from fedunlearn.flower.identity import ANONYMOUS, claim_of, nodes_by_client, queried
from fedunlearn.flower.replies import NOT_FINITE, TOO_LONG, BadReply, Reply, Wanted, judge
from fedunlearn.flower.scoped_grid import Present
from fedunlearn.unlearning import ClientFailed


@dataclass(frozen=True)
class PlainNodes:
    """A grid, and what its nodes have told of who they are."""

    grid: Grid
    timeout: float
    """Seconds to wait for replies."""
    tolerated_failures: int = 0
    """Clients that may fail each time, once it is known who is who."""
    of: dict[ClientId, int] = field(default_factory=dict)
    """Which node plays which client; empty until the first replies."""
    warned: list[str] = field(default_factory=list)
    """What was warned of, which is not repeated."""
    keeping: list[bool] = field(default_factory=list)
    """Of each answer that was heard, whether its client can go back to an earlier state."""

    @property
    def rewinding(self) -> bool:
        """Whether clients can go back to an earlier state."""
        return any(self.keeping)

    def present(self, clients: Set[ClientId]) -> Grid:
        """Return the grid with the nodes of ``clients`` alone; all of them before any is known."""
        nodes = [self.of[client] for client in clients] if self.of else self.grid.get_node_ids()
        return Present(self.grid, frozenset(nodes))

    def require_rewinding(self) -> None:
        """Raise `Refused` for clients who keep state that they cannot go back from.

        It is seen where clients live in this process; no other grid shows it.
        """
        if self.rewinding or not getattr(self.grid, "keeps_state", False):
            return
        raise Refused(
            "Clients keep state between rounds (context.state), and the method runs rounds again: "
            "they would begin from what the leavers helped to make. Let them go back to what it "
            "was, by app = ClientApp(mods=[rewinding]) with fedunlearn.flower.rewinding."
        )

    def ask(
        self,
        messages: Sequence[Message],
        clients: Set[ClientId],
        wanted: Wanted,
        diverged: str = "",
    ) -> dict[ClientId, Reply]:
        """Send ``messages``, one a client of ``clients``; return good replies, ascending by client.

        Raises `ClientFailed` if more clients than are tolerated fail, do not answer or send what
        is not ``wanted``, none before it is known who is who; and `Refused` if nobody can tell
        that. Apps are queried only where train replies do not tell: Flower logs every query that
        an app does not know as an error. ``diverged`` is added where numbers are not finite.
        """
        if not self.of and len(messages) < len(clients):
            self.of.update(self._queried(len(clients)))
        answers = self._answers(messages, clients, wanted, diverged)
        judged = judge(messages, answers, wanted, self.timeout, self._require_same)
        self._require_few(judged.wrong, answers, diverged)
        if not self.of:
            replies = [reply.message for reply in judged.good.values()]
            identified = all(claim_of(reply) is not None for reply in replies)
            self.of.update(
                nodes_by_client(replies, len(clients))
                if identified
                else self._queried(len(clients))
            )
        return {c: judged.good[node] for c, node in sorted(self.of.items()) if node in judged.good}

    def _answers(
        self, messages: Sequence[Message], clients: Set[ClientId], wanted: Wanted, diverged: str
    ) -> list[Message]:
        """Send and wait; the first of all messages goes ahead, until its client told who it is."""
        grid = self.present(clients)
        ahead = list(messages[:1]) if not self.of else []
        answers = list(grid.send_and_receive(ahead, timeout=self.timeout)) if ahead else []
        if ahead:
            self._require_few(judge(ahead, answers, wanted, self.timeout).wrong, answers, diverged)
            if all(claim_of(answer) is None for answer in answers):
                self.of.update(self._queried(len(clients)))
        others = list(messages[len(ahead) :])
        if others:
            answers += grid.send_and_receive(others, timeout=self.timeout)
        self.keeping.extend([told(answer) for answer in answers])
        return answers

    def _require_few(self, wrong: Mapping[int, str], answers: list[Message], diverged: str) -> None:
        """Raise `ClientFailed` if more clients failed than are tolerated."""
        if len(wrong) <= (self.tolerated_failures if self.of else 0):
            return
        claims = {answer.metadata.src_node_id: claim_of(answer) for answer in answers}
        lines = [f"{self._name(n, claims.get(n))} {why}" for n, why in sorted(wrong.items())]
        if diverged and any(NOT_FINITE in line or TOO_LONG in line for line in lines):
            lines.append(diverged)
        raise ClientFailed("\n".join(lines))

    def _name(self, node: int, claim: object) -> str:
        """Return how a sentence about the client on ``node`` begins."""
        clients = {node: client for client, node in self.of.items()}
        if node in clients:
            return f"Client {clients[node]}"
        claimed = "" if claim is None else f", which says that it is client {claim},"
        return f"The client on node {node}{claimed}"

    def _require_same(self, node: int, reply: Message) -> None:
        """Raise `BadReply` if a client says that it is another than before."""
        claim = claim_of(reply)
        before = [client for client, other in self.of.items() if other == node]
        if claim is not None and before not in ([], [claim]):
            raise BadReply(f"it says that it is client {claim}")

    def _queried(self, clients: int) -> dict[ClientId, int]:
        """Ask every node which of ``clients`` clients it plays."""
        good, wrong = queried(self.grid, self.grid.get_node_ids(), self.timeout)
        if wrong:
            lines = [f"The client on node {n}, asked who it is, {why}" for n, why in wrong.items()]
            raise Refused("\n".join([ANONYMOUS, *lines]))
        return nodes_by_client(good.values(), clients)
