"""How the rounds that strategies ask for are kept within a number of bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fedunlearn.checks import Refused
from fedunlearn.history import encodings
from fedunlearn.history.byte_amounts import written
from fedunlearn.history.needs import Needs
from fedunlearn.history.policies import Every, count_recorded
from fedunlearn.history.policy import AsNeeded, Policy
from fedunlearn.history.stores import OnDisk

COARSER = {
    "float32": ("bfloat16", "int8"),
    "bfloat16": ("int8",),
    "float16": ("int8",),
}
"""What comes into question after an encoding, the better one first."""

FILE, ROW = 1024, 16
"""Bytes that a file takes besides its updates and its model: at most so many, and for a client."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a training stores if nothing limits it."""

    needs: Sequence[Needs]
    """Of each strategy."""
    size: int
    """Numbers of a model, d."""
    cohort: int
    """Clients of a round."""
    rounds: Sequence[int]
    """The numbers of all rounds, those of recoveries included."""
    first: int
    """The round of the first request: before it, every strategy must have something stored."""

    @property
    def union(self) -> Needs:
        """What serves all strategies."""
        return Needs.union(self.needs)

    def nbytes(self, encoding: str, policy: Policy) -> int:
        """Return what is stored at the end, the first model and the frames of files included."""
        needs, clients = self.union, policy.updates(self.cohort)
        one = FILE + ROW * self.cohort
        one += encodings.of(encoding).nbytes(clients, self.size) if needs.updates else 0
        one += 4 * self.size if needs.models else 0
        return 4 * self.size + count_recorded(policy, needs, self.rounds) * one

    def serves(self, policy: Policy) -> bool:
        """Whether every strategy finds a round before the first request."""
        asked = (policy.asks(needs) for needs in self.needs if needs.rounds)
        return all(needs.every <= self.first for needs in asked)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was picked, and a sentence that says so."""

    store: OnDisk
    policy: Policy
    sentence: str


def fit(budget: float, store: OnDisk, policy: Policy, demand: Demand) -> Plan:
    """Pick the first way of keeping ``demand`` that takes at most ``budget`` bytes.

    In this order: as ``store`` and ``policy`` say; then in a coarser encoding (`COARSER`); then,
    in the coarsest, one round in 2, 4, 8 … of those asked for. Rounds are left out only where
    strategies can do without, and where ``policy`` chooses no rounds itself. Raises `Refused`,
    naming the smallest, where nothing fits.
    """
    allowed = f"history.budget={written(budget)}"
    if not demand.union.rounds:
        return Plan(store, policy, f"{allowed} is not needed: these strategies store no rounds.")
    ways = list(_ways(store.encoding, policy, demand))
    sizes = [demand.nbytes(*way) for way in ways]
    place = next((place for place, nbytes in enumerate(sizes) if nbytes <= budget), None)
    if place is None:
        raise Refused(
            f"{allowed} is too small: {_described(ways[-1], demand)}, the least that the strategies"
            f" can do with, takes {written(sizes[-1])}. Raise the budget, or choose strategies "
            "that store less."
        )
    encoding, picked = ways[place]
    first, takes = (f"{_described(ways[p], demand)}: {written(sizes[p])}" for p in (0, place))
    if place == 0:
        return Plan(store, policy, f"{allowed} is enough for {first}.")
    sentence = f"{allowed} is less than {first}. Kept is {takes}; strategies see no more than that."
    limit = store.limit if encoding == "float32" else 0  # in memory nothing is encoded
    return Plan(replace(store, encoding=encoding, limit=limit), picked, sentence)


def _ways(encoding: str, policy: Policy, demand: Demand) -> Iterator[tuple[str, Policy]]:
    """Yield what comes into question, in order of preference."""
    finer = (encoding, *COARSER.get(encoding, ())) if demand.union.updates else (encoding,)
    for one in finer:
        yield one, policy
    if demand.union.complete or not isinstance(policy, AsNeeded | Every):
        return
    every = policy.asks(demand.union).every
    while demand.serves(wider := Every(every := 2 * every)):
        yield finer[-1], wider


def _described(plan: tuple[str, Policy], demand: Demand) -> str:
    encoding, policy = plan
    every = policy.asks(demand.union).every
    rounds = "every round" if every == 1 else f"one round in {every}"
    if not isinstance(policy, AsNeeded | Every):
        rounds = "what the policy chooses"
    return f"{rounds} as {encoding}" if demand.union.updates else rounds
