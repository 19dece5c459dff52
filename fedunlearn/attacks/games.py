"""Every attack on one model: what it is about, what shadow models say, a row for each number.

Two games are played, and a model retrained without the leavers scores 0.5 in both:

- *held out*: the leavers' training records against their held-out records, under the one model.
  Can anybody tell what was trained on?
- *retrained*: the leavers' training records under this model against the same records under models
  that never saw them. Is there any trace of the leavers, in a record or in a client's mean?

No attack is judged on what it was fitted on. In the first game shadow models fit and the model
attacked is judged. In the second, one half of the retrained models fits and the other is judged.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from fedunlearn.evaluators import Estimate, attack_scores, detection, likelihood
from fedunlearn.results import FALSE_POSITIVE_RATES

Floats = npt.NDArray[np.float64]

LEAST = 4
"""Shadow models of either kind: two fit and two are judged."""

LEAST_UNLEARNED = 2
"""Models of other seeds that U-LiRA needs."""


@dataclass(frozen=True)
class AttackedRecords:
    """The records that attacks are about."""

    labels: npt.NDArray[np.int64]
    """[n]."""
    member: npt.NDArray[np.bool_]
    """Which of them the federation trained on, [n]."""
    clients: npt.NDArray[np.int64]
    """Whose they are, [n]."""
    population: npt.NDArray[np.int64]
    """Labels of records that nobody trained on, [m]."""


@dataclass(frozen=True)
class Confidences:
    """Logit-scaled confidences of several models."""

    records: Floats
    """Of the attacked records, [models, n]."""
    population: Floats
    """Of the population, [models, m]."""


@dataclass(frozen=True)
class ShadowAnswers:
    """What the attacker has: what shadow models say."""

    halves: Confidences
    """Of models with a half of each leaver's records."""
    held: npt.NDArray[np.bool_]
    """Which of those trained on which record, [models, n]."""
    without: Confidences
    """Of models that the leavers had no part in."""


@dataclass(frozen=True)
class AttackResult:
    """One number: a row of attacks.csv but for whose model it is about."""

    attack: str
    level: str
    """``record``, or ``client`` for means over a client's records."""
    statistic: str
    estimate: Estimate
    members: int
    others: int


@dataclass(frozen=True)
class Scores:
    """One attack's scores of the same records under three kinds of models."""

    model: Floats
    """The one attacked, [n]."""
    judged: Floats
    """Retrained ones to compare it with, [J, n]."""
    fit: Floats
    """Retrained ones that the attack was fitted on, [J', n]."""

    def where(self, mask: npt.NDArray[np.bool_]) -> "Scores":
        """Return the scores of some records."""
        return Scores(self.model[mask], self.judged[:, mask], self.fit[:, mask])

    def of_clients(self, clients: npt.NDArray[np.int64]) -> "Scores":
        """Return the mean scores of clients, in the spread that each has among fitted models.

        Some clients' records are harder than others'; without this they could not be pooled.
        """
        parts = (self.model, self.judged, self.fit)
        model, judged, fit = (attack_scores.per_client(part, clients) for part in parts)
        return Scores(
            *(likelihood.lira_offline(part, fit, "record") for part in (model, judged, fit))
        )


def attack_results(
    logits: npt.ArrayLike,
    population: npt.ArrayLike,
    attacked: AttackedRecords,
    shadows: ShadowAnswers,
    unlearned: Floats | None = None,
) -> Iterator[AttackResult]:
    """Attack one model by its ``logits`` [n, classes] and those of the ``population`` [m, classes].

    ``unlearned`` [u, n] are confidences of other models that the same strategy made under other
    seeds, for U-LiRA; it is left out where there are fewer than `LEAST_UNLEARNED`. Raises
    ValueError for fewer than `LEAST` shadow models of either kind.
    """
    if min(len(shadows.held), len(shadows.without.records)) < LEAST:
        raise ValueError(f"Attacks need at least {LEAST} shadow models of either kind.")
    phi = attack_scores.confidence(logits, attacked.labels)
    for attack, score in _held_out(logits, phi, population, attacked, shadows).items():
        members, others = score[attacked.member], score[~attacked.member]
        area = detection.auc(members, others)
        yield AttackResult(attack, "record", "auc", area, members.size, others.size)
        yield from _rates(attack, members, others)
    for attack, scores in _retrained(phi, shadows, unlearned).items():
        records = scores.where(attacked.member)
        clients = records.of_clients(attacked.clients[attacked.member])
        if attack != "loss":  # it is fitted to nothing, so that only a client's mean can be placed
            area = detection.auc_of_models(records.model, records.judged)
            sizes = records.model.size, records.judged.size
            yield AttackResult(attack, "record", "auc", area, *sizes)
            yield from _rates(attack, records.model, records.judged)
        # One client's means are as many draws as models; several of a model go together.
        area = (
            detection.auc(clients.model, clients.judged.ravel())
            if clients.model.size == 1
            else detection.auc_of_models(clients.model, clients.judged)
        )
        yield AttackResult(attack, "client", "auc", area, clients.model.size, clients.judged.size)


def _held_out(
    logits: npt.ArrayLike,
    phi: Floats,
    population: npt.ArrayLike,
    attacked: AttackedRecords,
    shadows: ShadowAnswers,
) -> Mapping[str, Floats]:
    """Return each attack's scores of all attacked records, [n]."""
    halves, out, held = shadows.halves, shadows.without, shadows.held
    model, model_z = expit(phi), expit(attack_scores.confidence(population, attacked.population))
    inside = likelihood.mean_where(expit(halves.records), held)
    outside = likelihood.mean_where(expit(halves.records), ~held)
    online = likelihood.rmia_average(outside, inside)
    offline = likelihood.rmia_average(expit(out.records).mean(axis=0))
    return {
        "loss": attack_scores.loss(logits, attacked.labels),
        "entropy": attack_scores.entropy(logits),
        "modified_entropy": attack_scores.modified_entropy(logits, attacked.labels),
        "lira": likelihood.lira(phi, halves.records, held),
        "lira_offline": likelihood.lira_offline(phi, out.records),
        "rmia": likelihood.rmia((model, online), (model_z, _never(halves.population))),
        "rmia_offline": likelihood.rmia((model, offline), (model_z, _never(out.population))),
    }


def _never(population: Floats) -> Floats:
    """Return the mean probability of records that no model trained on, [m]."""
    return likelihood.rmia_average(expit(population).mean(axis=0), a=1)


def _retrained(
    phi: Floats, shadows: ShadowAnswers, unlearned: Floats | None
) -> Mapping[str, Scores]:
    """Return each attack's scores of all records under this model and under retrained ones."""
    out = shadows.without.records
    fit, judged = out[: len(out) // 2], out[len(out) // 2 :]
    # Every record is in half of the models, so what those say has the same height everywhere.
    remembering = {
        "lira_retrained": shadows.halves.records.T[shadows.held.T].reshape(phi.size, -1).T
    }
    if unlearned is not None and len(unlearned) >= LEAST_UNLEARNED:
        remembering["u_lira"] = unlearned
    scores = {"loss": Scores(phi, judged, fit)}
    for name, those in remembering.items():
        scores[name] = Scores(*(likelihood.u_lira(part, those, fit) for part in (phi, judged, fit)))
    return scores


def _rates(attack: str, members: Floats, others: Floats) -> Iterator[AttackResult]:
    """Yield what is known of records beside the area.

    ``others`` are other records' scores [m], or those of the same records under other models
    [J, n], whose intervals are over models.
    """
    gain = detection.advantage_in_sample(members, others.ravel())
    over_models = others.ndim == 2
    values = {
        "advantage": detection.advantage_of_models(members, others)
        if over_models
        else detection.advantage(members, others),
        "advantage_in_sample": Estimate(gain, math.nan, math.nan),
        **{
            f"tpr_at_{rate:g}": detection.tpr_at_of_models(members, others, rate)
            if over_models
            else detection.tpr_at(members, others, rate)
            for rate in FALSE_POSITIVE_RATES
        },
    }
    for statistic, estimate in values.items():
        yield AttackResult(attack, "record", statistic, estimate, members.size, others.size)
