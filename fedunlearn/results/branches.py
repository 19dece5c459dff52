"""The names of strategies, references and the common training in all files of a run."""

import re

SHARED_TRAINING = "shared"
"""Stands for the strategy in rows of the training that all strategies start from."""

RETRAIN = "retrain"
"""The name of the reference in all files: the model retrained without the leavers.

Further ones of the same seed are called ``retrain-2``, ``retrain-3`` and so on."""

UNTOUCHED = "none"
"""The name of the strategy that leaves the trained model as it is: what there was to forget."""

RETRAIN_AGAIN = "retrain again"
"""Stands for the strategy where one more retrained model is next to the others of its seed."""


def reference_name(number: int) -> str:
    """Return the name of a seed's n-th reference, from 1."""
    return RETRAIN if number == 1 else f"{RETRAIN}-{number}"


def reference_number(name: str) -> int:
    """Return which reference of its seed ``name`` stands for, from 1; 0 for any other strategy."""
    if name == RETRAIN:
        return 1
    match = re.fullmatch(rf"{RETRAIN}-(\d+)", name)
    return int(match[1]) if match else 0


def is_reference(name: str) -> bool:
    """Whether ``name`` stands for a retrained model: ``retrain``, ``retrain-2`` and so on."""
    return reference_number(name) > 0


def told_name(strategy: str) -> str:
    """Return what people read for a strategy: all but the first reference are `RETRAIN_AGAIN`."""
    return RETRAIN_AGAIN if reference_number(strategy) > 1 else strategy
