"""Six proxies of memorization that a client computes for its own records, by itself.

In a federation these numbers stay where the records are: a client may act on them, or tell their
mean, and no message carries one record's. The simulation looks at all of them to find out what
they are worth, which is not to be taken for a protocol.

Zhao, Triantafillou. Scalability of memorization-based machine unlearning. 2024, arXiv 2410.16516;
loss curvature: Garg, Ravikumar, Roy. Memorization through the lens of curvature of loss function
around samples. ICML 2024, arXiv 2307.05831.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fedunlearn.attacks.subset_banks import FURTHER, WHOLE, Ground, Tell
from fedunlearn.attacks.training_bank import train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import Shards
from fedunlearn.local import CohortWork, Trained, train_locally
from fedunlearn.models import FORWARD_BATCH, Net, Network, Vector, logits
from fedunlearn.randomness import Entropy, generator

Floats = npt.NDArray[np.float64]

SIGNS: Mapping[str, int] = {
    "confidence": -1,
    "max_confidence": -1,
    "entropy": -1,
    "accuracy": -1,
    "holdout_retraining": 1,
    "curvature": 1,
}
"""Whether a proxy rises (1) or falls (-1) with memorization: of a record that every model would
predict anyway, training is sure early on."""

VISITS = ("confidence", "max_confidence", "entropy", "accuracy")
"""Means over all visits of a record in training, of what the model says before the step:
the probability of its label, the largest one, ``sum_c p_c log p_c`` (the entropy, negative), and
whether the label is predicted."""

HOLDOUT_ROUNDS = 3
"""Rounds without a client after which it compares what the model says of its records."""

STEP = 0.01
"""Length of the step in the inputs at whose ends the slopes are compared."""


def rising(name: str, values: Floats) -> Floats:
    """Return a proxy's values turned so that they rise with memorization."""
    return SIGNS[name] * values


@dataclass(frozen=True)
class Watched:
    """One training of everybody, as its clients saw it."""

    weights: Vector
    """The last model, [d]."""
    proxies: Mapping[str, Floats]
    """Of each record, [n], by their names in `SIGNS`."""


def watched(ground: Ground, tell: Tell) -> Watched:
    """Train one model with everybody, and compute the six proxies of each record.

    Those of `VISITS` are nan for records that training never visited, and curvature is for
    inputs that are no numbers. Holdout retraining takes `HOLDOUT_ROUNDS` further rounds of the
    others for each client: whoever knows a record only from this client forgets it.
    """
    watching = _Watching.over(ground)
    member = ground.member(WHOLE, 0, ground.present)
    (final,) = train_bank([member], watching, ground.training, ground.rounds)
    tell(1)
    found = {name: watching.means(ground, place) for place, name in enumerate(VISITS)}
    found["holdout_retraining"] = _holdout_retraining(ground, final)
    tell(len(ground.present))
    found["curvature"] = watching.curvature(ground)
    return Watched(final, found)


def require_watchable(ground: Ground) -> None:
    """Raise `Refused` for training whose visits cannot be watched."""
    if ground.training.work.optimizer.squares:
        raise Refused(
            "The optimizer looks at single records' gradients, and then nothing can look at what "
            "the model says in training: choose another training.work.optimizer."
        )


def symmetric_divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return ``(KL(p|q) + KL(q|p)) / 2`` of each record, [n] float64, from logits [n, classes]."""
    log_p, log_q = (functional.log_softmax(z.double(), dim=1) for z in (logits, others))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1) / 2


def curvature(network: Network, weights: Vector, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return ``|g(x + h z) - g(x)|`` of each record, [n] float64, with h = `STEP`.

    g is the gradient of the loss by the input x, and z its sign, of length 1: how the slope changes
    in the direction in which the loss rises. ``inputs`` [n, *shape] must be numbers.
    """

    def slope(x: Tensor, wanted: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        loss = functional.cross_entropy(network(weights, leaf), wanted, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient.flatten(1)

    parts = []
    for x, wanted in zip(
        torch.split(inputs, FORWARD_BATCH), torch.split(labels, FORWARD_BATCH), strict=True
    ):
        here = slope(x, wanted)
        direction = functional.normalize(here.sign(), dim=1)
        there = slope(x + STEP * direction.view_as(x), wanted)
        parts.append((there - here).double().norm(dim=1))
    return torch.cat(parts)


def _holdout_retraining(ground: Ground, final: Vector) -> Floats:
    """Return how far each client's records are from what the others alone then say of them."""
    network, records = ground.federation.network, ground.records
    everybody = frozenset(ground.present)
    members = [
        replace(ground.member(FURTHER, place, sorted(everybody - {client})), initial=final)
        for place, client in enumerate(ground.present)
    ]
    before = _said(network, final, records.inputs)
    moved = np.empty(len(records))
    models = train_bank(members, ground.trainer, ground.training, HOLDOUT_ROUNDS)
    for place, weights in enumerate(models):
        own = torch.from_numpy(ground.owner == place)
        after = _said(network, weights, records.inputs[own.to(records.labels.device)])
        moved[own.numpy()] = symmetric_divergence(before[own], after).numpy()
    return moved


def _said(network: Network, weights: Vector, inputs: Tensor) -> Tensor:
    """Return a model's logits in host memory, [n, classes]."""
    return logits(network.arranging, weights.to(inputs.device), [inputs]).cpu()


@dataclass(frozen=True)
class _Listening:
    """An objective that hands on what the net says on its first pass over a batch."""

    objective: Callable[[Net, Vector, Tensor, Tensor, Tensor], Tensor]
    heard: list[tuple[Tensor, Tensor]]

    def __call__(
        self, network: Net, weights: Vector, images: Tensor, labels: Tensor, sent: Tensor
    ) -> Tensor:
        said: list[Tensor] = []

        def net(model: Vector, batch: Tensor) -> Tensor:
            out = network(model, batch)
            said.append(out.detach())
            return out

        losses = self.objective(net, weights, images, labels, sent)
        self.heard.append((said[0], labels))
        return losses


@dataclass(frozen=True)
class _Watching:
    """A `Trainer` of each client by itself, who keeps count of its visits; of nobody else's."""

    network: Network
    shards: Shards
    seen: Tensor
    """Visits of each record, [n] float64."""
    sums: Tensor
    """Sums over visits, [4, n] float64, in the order of `VISITS`."""
    bends: Tensor
    """Sums of the curvature over rounds, [n] float64."""
    rounds: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Rounds in which a record's client took part, [n] float64."""

    @classmethod
    def over(cls, ground: Ground) -> "_Watching":
        shards, count = ground.trainer.shards, len(ground.trainer.shards.records)
        none = torch.zeros(count, dtype=torch.float64)
        each = none.clone(), torch.zeros(len(VISITS), count, dtype=torch.float64)
        return cls(ground.federation.network, shards, *each, none.clone(), none.clone())

    def train(self, cohort: CohortWork) -> Trained[list[int]]:
        """See `Trainer.train`."""
        rows = []
        for place, client in enumerate(cohort.clients):
            start = cohort.starts if cohort.starts.dim() == 1 else cohort.starts[place]
            rows.append(self._train(client, start, cohort, cohort.seeds[place]))
        return Trained(torch.stack([row.weights for row in rows]), [row.processed for row in rows])

    def _train(self, client: int, start: Vector, cohort: CohortWork, seed: Entropy) -> Trained[int]:
        records, span = self.shards[client], self.shards.span(client)
        model = start.to(records.labels.device)
        if self._bends:
            bend = curvature(self.network, model, records.inputs, records.labels)
            self.bends[span.start : span.stop] += bend.cpu()
        self.rounds[span.start : span.stop] += 1
        told: list[tuple[Tensor, Tensor]] = []
        work = replace(cohort.work, objective=_Listening(cohort.work.objective, told))
        weights, processed = train_locally(
            *(self.network, model, records.inputs, records.labels),
            *(work, cohort.round, generator(seed)),
        )
        heard = [torch.cat(part).cpu() for part in zip(*told, strict=True)]
        order = torch.from_numpy(cohort.work.order(len(span), generator(seed)))[: len(heard[1])]
        self._note(order + span.start, *heard)
        return Trained(weights.cpu(), processed)

    @property
    def _bends(self) -> bool:
        return self.shards.records.inputs.is_floating_point()

    def _note(self, records: Tensor, said: Tensor, labels: Tensor) -> None:
        """Count visits of ``records`` [v] at which the net said ``said`` [v, classes]."""
        logs = functional.log_softmax(said.double(), dim=1)
        shares, own = logs.exp(), logs.gather(1, labels[:, None]).squeeze(1)
        right = (said.argmax(dim=1) == labels).double()
        values = own.exp(), shares.amax(dim=1), (shares * logs).sum(dim=1), right
        self.seen.index_add_(0, records, torch.ones(len(records), dtype=torch.float64))
        self.sums.index_add_(1, records, torch.stack(values))

    def means(self, ground: Ground, place: int) -> Floats:
        """Return means over visits of the records of a ground, [n]."""
        return self._of(ground, self.sums[place] / self.seen)

    def curvature(self, ground: Ground) -> Floats:
        """Return the mean curvature over the rounds that a client took part in, [n]."""
        return self._of(ground, self.bends / self.rounds if self._bends else self.bends / 0)

    def _of(self, ground: Ground, values: Tensor) -> Floats:
        spans = [self.shards.span(client) for client in ground.present]
        held: Floats = torch.cat([values[span.start : span.stop] for span in spans]).numpy()
        return held
