"""What a strategy names of the rooms below, so that its file has one place to import from."""

from fedunlearn import checks
from fedunlearn.data import ClientId
from fedunlearn.history import (
    Drift,
    History,
    Needs,
    Updates,
    count_recorded,
    fedavg_step,
    selected_rounds,
    selected_updates,
)
from fedunlearn.local import (
    Adam,
    Ascent,
    Ball,
    DiagonalFisher,
    Distillation,
    LocalWork,
    PseudoLabels,
    Schedule,
    Sgd,
    UnlearningCrossEntropy,
    VirtualTeacher,
)
from fedunlearn.models import Head, Layout, Vector, lengths, mean, orthogonal, rescale

__all__ = [
    "Adam",
    "Ascent",
    "Ball",
    "ClientId",
    "DiagonalFisher",
    "Distillation",
    "Drift",
    "Head",
    "History",
    "Layout",
    "LocalWork",
    "Needs",
    "PseudoLabels",
    "Schedule",
    "Sgd",
    "UnlearningCrossEntropy",
    "Updates",
    "Vector",
    "VirtualTeacher",
    "checks",
    "count_recorded",
    "fedavg_step",
    "lengths",
    "mean",
    "orthogonal",
    "rescale",
    "selected_rounds",
    "selected_updates",
]
