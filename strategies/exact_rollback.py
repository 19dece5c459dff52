"""Exact rollback: go back to the last model before a leaver took part, and train again from there.

    t = min {t : S_t and U meet},    w_t -> FedAvg over those who remain, for rounds t … T

S_t is the cohort of round t and U those who leave. No update of theirs is in w_t, and only rounds
from t on draw their cohorts anew: as a client's place in the queue of a round is a function of the
seed, the round and the client, others keep theirs and the next in line steps in. So the result is
that of retraining bit for bit, for the price of T - t + 1 rounds; with full participation t = 1.
Where the server's optimizer or a correction of local work (SCAFFOLD, FedDyn) carries a state,
retraining would arrive at t with one, while this begins afresh: free of the leavers all the same,
but only with plain averaging the same bits.

Tao, Wang, Pan, Yu, Cheng, Wang. Communication Efficient and Provable Federated Unlearning. PVLDB
17(5), 2024, arXiv 2401.11018 (FATS; here without its bound on how often one must go back). Public
code draws a cohort with replacement and drops who is drawn twice, which shrinks cohorts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.methods import cuts, restart
from fedunlearn.unlearning import Clients, Guarantee, History, Needs, Request, Vector


@dataclass(frozen=True, slots=True)
class ExactRollback:
    """Train again from the round in which a leaver took part first."""

    guarantee: ClassVar[Guarantee] = "exact"

    @property
    def needs(self) -> Needs:
        """Every model that was sent out; who took part is known without any update."""
        return Needs(models=True, remaining=True, replaces=True, complete=True)

    def length(self, request: Request) -> int:
        """At most as many rounds as training took."""
        return request.after

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model after each round that is run again; none if no leaver took part."""
        touched = [bool(request.clients & set(stored.clients)) for stored in history]
        untouched = touched.index(True) if any(touched) else len(history)
        place = max(place for place in cuts(history, request.after) if place <= untouched)
        yield from restart(history, place, request.after).rounds(clients, request.after)
