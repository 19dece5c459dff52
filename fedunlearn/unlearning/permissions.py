"""What a strategy may ask of clients, whatever kind of clients they are."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from fedunlearn.data import ClientId
from fedunlearn.history import Needs, Round, Updates
from fedunlearn.models import Vector

ORDINARY_NEEDS = Needs(remaining=True)
"""What ordinary rounds declare."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may be asked and for what; the driver sets it, and every kind of clients obeys it."""

    ids: frozenset[ClientId]
    """Clients who may be asked."""
    declared: Needs = ORDINARY_NEEDS
    """What the strategy being served declared: anything else is refused."""
    gone: frozenset[ClientId] = frozenset()
    """Clients who leave with the request being served."""
    stream: int = 0
    """Training and unlearning draw from stream 0, recovery after request r from stream r."""
    record: Callable[[Round, Vector], None] | None = None
    """Called with every ordinary round and the model [d] after it, before that is yielded."""

    def chosen(self, who: Collection[ClientId]) -> tuple[ClientId, ...]:
        """Return ``who``, each once and ascending; raise PermissionError unless all are `ids`."""
        strangers = sorted(set(who) - self.ids)
        if strangers:
            raise PermissionError(f"Clients {strangers} may not be asked: they have left.")
        return tuple(sorted(set(who)))

    def require_remaining(self) -> None:
        """Raise PermissionError unless work of those who remain was declared."""
        if not self.declared.remaining:
            raise PermissionError(
                "Only a strategy with Needs(remaining=True) may ask the clients who remain."
            )

    def require_proxy(self) -> None:
        """Raise PermissionError unless proxy data were declared."""
        if not self.declared.proxy:
            raise PermissionError("Only a strategy with Needs(proxy=True) may use the proxy data.")

    @property
    def leavers(self) -> "Access":
        """Access to `gone` alone; raises PermissionError unless their work was declared."""
        if not self.declared.leaver:
            raise PermissionError("Only a strategy with Needs(leaver=True) may ask the leavers.")
        return Access(self.gone, stream=self.stream)

    def without(self, clients: Collection[ClientId]) -> "Access":
        """Let ``clients`` no longer be asked."""
        return replace(self, ids=self.ids.difference(clients))

    def recorded(
        self, before: Vector, first: int, rounds: Iterable[tuple[Updates, Vector]]
    ) -> Iterator[tuple[Updates, Vector]]:
        """Pass on ordinary ``rounds`` from number ``first``, and `record` each of them.

        ``before`` [d] is the model from which the first of them starts.
        """
        for number, (updates, after) in enumerate(rounds, first):
            if self.record is not None:
                self.record(Round.of(number, before, updates), after)
            yield updates, after
            before = after
