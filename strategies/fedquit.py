"""FedQUIT: the leavers teach the model to doubt what they alone know, before they go.

    w <- sum_u n_u w_u / sum_u n_u,    w_u = argmin mean_i KL(softmax(z'_i) | softmax(f(x_i, w)))

For each record i of leaver u, z'_i are the present model's logits, save that the true class gets
the smallest of them. The leaver takes ``work`` towards that virtual teacher from the present
model. The relations between the other classes stay; ordinary rounds (``recovery=plain``) follow.

Mora, Valerio, Bellavista, Passarella. FedQUIT: On-Device Federated Unlearning via a
Quasi-Competent Virtual Teacher. 2024, arXiv 2408.07587. Its code takes one epoch of Adam, with
learning rate 1e-3 for IID clients and 1e-4 otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fedunlearn.unlearning import (
    Adam,
    Clients,
    Guarantee,
    History,
    LocalWork,
    Needs,
    Request,
    Vector,
    VirtualTeacher,
    fedavg_step,
)


@dataclass(frozen=True, slots=True)
class FedQuit:
    """Let every leaver do ``work`` once."""

    guarantee: ClassVar[Guarantee] = "none"

    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, optimizer=Adam(lr=0.001), objective=VirtualTeacher()
        )
    )
    """What every leaver does once."""

    @property
    def needs(self) -> Needs:
        """The leavers work once more."""
        return Needs(leaver=True)

    def length(self, request: Request) -> int:
        """One round."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the mean of the leavers' results."""
        taught = clients.leavers.train(
            history.final, request.clients, self.work, round=request.after + 1
        )
        yield history.final + fedavg_step(taught)
