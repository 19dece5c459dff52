"""What a strategy may ask of clients, whatever kind of clients they are."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fedunlearn.data import ClientId, Held
from fedunlearn.history import Needs, Round, Updates
from fedunlearn.local import Part
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
    since: Mapping[ClientId, int] = field(default_factory=dict)
    """The first training round of those of `ids` who were not there from the start."""
    until: int | None = None
    """The latest training round of whose members and records anything is shown; None: no limit."""
    served: int = 0
    """Requests whose records nobody shows any more."""
    asked: int = 0
    """From 1: each shows just what this request takes; 0: all but that."""
    note: Callable[[str, float], None] | None = None
    """Keeps a number for requests to come; None: nothing is being served."""
    part: Part | None = None
    """Which of these records, by rank, are shown; None: all."""
    leaving: Part | None = None
    """The same of those who leave, for `leavers`."""

    def present(self, round: int) -> frozenset[ClientId]:
        """Return who of `ids` takes part in training round ``round``, by its number."""
        now = self.held(round).round
        late = {client for client, first in self.since.items() if first > now}
        return self.ids - late if late else self.ids

    def held(self, round: int) -> Held:
        """Return which records clients train on in training round ``round``."""
        return Held(
            round if self.until is None else min(round, self.until), self.served, self.asked
        )

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

    def require_masks(self) -> None:
        """Raise PermissionError unless masks were declared."""
        if not self.declared.masks:
            raise PermissionError("Only a strategy with Needs(masks=True) may freeze parameters.")

    def require_proxy(self) -> None:
        """Raise PermissionError unless proxy data were declared."""
        if not self.declared.proxy:
            raise PermissionError("Only a strategy with Needs(proxy=True) may use the proxy data.")

    def require_verifies(self) -> None:
        """Raise PermissionError unless tests on the server were declared."""
        if not self.declared.verifies:
            raise PermissionError("Only a strategy with Needs(verifies=True) may test models.")

    def narrowed(self, needs: Needs) -> "Access":
        """Return access as a strategy with ``needs`` has it that another one runs.

        Raises PermissionError where these are more than the other one declared.
        """
        if Needs.union([self.declared, needs]) != self.declared:
            raise PermissionError("A strategy that runs others must declare all that they need.")
        return replace(self, declared=needs, record=self.record if needs.replaces else None)

    @property
    def leavers(self) -> "Access":
        """Access to `gone` alone; raises PermissionError unless their work was declared."""
        if not self.declared.leaver:
            raise PermissionError("Only a strategy with Needs(leaver=True) may ask the leavers.")
        asked = replace(ORDINARY_NEEDS, masks=self.declared.masks)
        return Access(
            self.gone,
            asked,
            stream=self.stream,
            until=self.until,
            served=self.served,
            asked=self.served,
            part=self.leaving,
        )

    def parted(self, part: Part | None) -> "Access":
        """Let those who leave show just ``part`` of what they want forgotten; None: all of it."""
        return replace(self, leaving=part)

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
