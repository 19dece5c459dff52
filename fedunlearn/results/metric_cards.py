"""What each metric is called in figures and tables, its range, and which way is good."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower", "retrained"]
"""Which value is best: a high one, a low one, or that of the retrained model."""


@dataclass(frozen=True, slots=True)
class Card:
    """One metric, for readers of figures and tables."""

    name: str
    """The metric's name in metrics.csv."""
    label: str
    """Its name in figures, with the unit where there is one."""
    better: Better
    lower_bound: float
    """The least value there can be; -inf where there is none."""
    upper_bound: float
    """The greatest value there can be; inf where there is none."""
    meaning: str
    """One sentence for captions."""
    remembered: Literal["higher", "lower"] | None = None
    """On which side of retraining a model lies that still knows the leavers; None: on neither."""


_CARDS = (
    Card(
        "test_accuracy",
        "Test accuracy",
        "higher",
        0,
        1,
        "Share of the server's test records that are classified rightly.",
    ),
    Card(
        "test_loss",
        "Test loss (nats)",
        "lower",
        0,
        math.inf,
        "Mean cross-entropy on the server's test records.",
    ),
    Card(
        "retained_accuracy",
        "Accuracy of remaining clients",
        "higher",
        0,
        1,
        "Accuracy on held-out records, averaged over the clients who remain.",
    ),
    Card(
        "retained_accuracy_std",
        "Spread over remaining clients",
        "lower",
        0,
        0.5,
        "Standard deviation of the accuracy between the clients who remain.",
    ),
    Card(
        "retained_accuracy_worst",
        "Accuracy of the worst-served client",
        "higher",
        0,
        1,
        "Accuracy at the client who is served worst among those who remain.",
    ),
    Card(
        "forget_accuracy",
        "Accuracy on the leaver's records",
        "retrained",
        0,
        1,
        "Accuracy on what the leaver trained on, poisoned labels included.",
        remembered="higher",
    ),
    Card(
        "forget_loss",
        "Loss on the leaver's records (nats)",
        "retrained",
        0,
        math.inf,
        "Mean cross-entropy on what the leaver trained on, poisoned labels included.",
        remembered="lower",
    ),
    Card(
        "forget_heldout_accuracy",
        "Accuracy on the leaver's held-out records",
        "retrained",
        0,
        1,
        "Accuracy on records of the leaver that nobody trained on.",
        remembered="higher",
    ),
    Card(
        "forget_heldout_loss",
        "Loss on the leaver's held-out records (nats)",
        "retrained",
        0,
        math.inf,
        "Mean cross-entropy on records of the leaver that nobody trained on.",
        remembered="lower",
    ),
    Card(
        "attack_success_rate",
        "Attack success rate",
        "retrained",
        0,
        1,
        "Share of triggered test images that are taken for the attacker's target class.",
        remembered="higher",
    ),
    Card(
        "verification_p_value",
        "Leaver's p-value for deletion",
        "retrained",
        0,
        1,
        "Near 0, the leaver's own trigger shows that the server has not deleted; 1 shows nothing.",
        remembered="lower",
    ),
    Card(
        "membership_auc",
        "Membership AUC",
        "retrained",
        0,
        1,
        "Chance that the leaver's trained record has a lower loss than its held-out record.",
        remembered="higher",
    ),
    Card(
        "weight_distance",
        "Weight distance to retrained",
        "lower",
        0,
        math.inf,
        "Distance to the retrained model, in lengths of the way that retraining went.",
    ),
    Card(
        "weight_cosine",
        "Weight cosine with retrained",
        "higher",
        -1,
        1,
        "Cosine between the ways of this and of the retrained model from their common start.",
    ),
    Card(
        "normalised_distance",
        "Weight distance, of the original's",
        "lower",
        0,
        math.inf,
        "Distance to the retrained model, as a share of that of the model before the request.",
    ),
    Card(
        "forget_activation_distance",
        "Activation distance, leaver's records",
        "lower",
        0,
        math.sqrt(2),
        "Mean distance to the retrained model's probabilities on the leaver's records.",
    ),
    Card(
        "test_activation_distance",
        "Activation distance, test",
        "lower",
        0,
        math.sqrt(2),
        "Mean distance to the retrained model's probabilities on the test records.",
    ),
    Card(
        "forget_divergence",
        "Divergence, leaver's records (nats)",
        "lower",
        0,
        math.log(2),
        "Mean Jensen-Shannon divergence from the retrained model on the leaver's records.",
    ),
    Card(
        "test_divergence",
        "Divergence, test (nats)",
        "lower",
        0,
        math.log(2),
        "Mean Jensen-Shannon divergence from the retrained model on the test records.",
    ),
    Card(
        "forget_agreement",
        "Agreement, leaver's records",
        "higher",
        0,
        1,
        "Share of the leaver's records on which this and the retrained model predict the same.",
    ),
    Card(
        "test_agreement",
        "Agreement, test",
        "higher",
        0,
        1,
        "Share of the test records on which this and the retrained model predict the same.",
    ),
    Card(
        "retained_agreement",
        "Agreement, remaining clients",
        "higher",
        0,
        1,
        "Share of held-out records on which this and the retrained model predict the same, "
        "averaged over the clients who remain.",
    ),
    Card(
        "retained_divergence",
        "Divergence, remaining clients (nats)",
        "lower",
        0,
        math.log(2),
        "Mean Jensen-Shannon divergence from the retrained model on held-out records, averaged "
        "over the clients who remain.",
    ),
    Card(
        "forget_cka",
        "Least CKA of a layer, leaver's records",
        "higher",
        -1,
        1,
        "How alike this and the retrained model represent the leaver's records, in the layer in "
        "which they differ most.",
    ),
    Card(
        "test_cka",
        "Least CKA of a layer, test",
        "higher",
        -1,
        1,
        "How alike this and the retrained model represent the test records, in the layer in which "
        "they differ most.",
    ),
    Card(
        "relearn_steps",
        "Relearn time (steps)",
        "retrained",
        0,
        math.inf,
        "Steps of training on the leaver's records until they are known as before the request.",
        remembered="lower",
    ),
    Card(
        "anamnesis_index",
        "Anamnesis index",
        "retrained",
        0,
        math.inf,
        "Relearn time in units of the retrained model's, which is 1.",
        remembered="lower",
    ),
)

CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in _CARDS})
"""Every metric by name, in the order in which tables show them."""

PART = "/"
"""Stands before the client or the layer of which alone a number is: ``retained_accuracy/3``."""


def overall(values: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are not of one client or of one layer alone."""
    return {name: value for name, value in values.items() if PART not in name}


def card(name: str) -> Card:
    """Return the card of a metric, also of one client or one layer; raises KeyError for others."""
    whole, part, which = name.partition(PART)
    found = CARDS[whole]
    return replace(found, name=name, label=f"{found.label}: {which}") if part else found
