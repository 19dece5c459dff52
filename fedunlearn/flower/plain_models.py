"""Models of somebody's own app: as vectors for methods, and as the arrays that the app knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord

from fedunlearn.checks import Refused
from fedunlearn.models import Layout, Vector


@dataclass
class PlainModels:
    """Turns vectors [d] of float32 into an app's arrays and back.

    The first arrays and the latest that a strategy made are kept as they came, so that what
    clients are sent next is that, in all of its digits and in its type.
    """

    layout: Layout
    kinds: Mapping[str, np.dtype[Any]]
    """The names of all arrays in their order, and the types that the app gave them."""
    exact: dict[str, tuple[Vector, ArrayRecord]] = field(default_factory=dict)

    @classmethod
    def of(cls, initial: ArrayRecord) -> "PlainModels":
        """Return the models that are like the first; raise `Refused` for what cannot be trained."""
        named = tensors(initial)
        layout = Layout.of_tensors(named)
        models = cls(layout, {name: array.numpy().dtype for name, array in initial.items()})
        first = models.keep(initial, "first")
        if not len(first):
            raise Refused(
                "initial_arrays hold no array of floating point: there is nothing to train."
            )
        if not first.isfinite().all():
            raise Refused("initial_arrays hold numbers that are NaN or infinite (as float32).")
        return models

    @property
    def first(self) -> Vector:
        """The first model [d]."""
        return self.exact["first"][0]

    def keep(self, arrays: ArrayRecord, name: str = "latest") -> Vector:
        """Return ``arrays`` as a vector [d], for which `pack` gives them back as they are."""
        vector = self.layout.flatten(tensors(arrays)).float()
        record = _shallow(arrays)
        for constant in self.layout.constants:  # a mean of integers need not be one
            record[constant] = Array(self.layout.constants[constant].numpy())
        self.exact[name] = vector, record
        return vector

    def pack(self, weights: Vector) -> ArrayRecord:
        """Return a model [d] as named arrays: as they came, or in the types of the first ones."""
        for vector, arrays in self.exact.values():
            if weights is vector or torch.equal(weights, vector):
                return _shallow(arrays)
        named = {**self.layout.named(weights), **self.layout.constants}
        return ArrayRecord(
            {name: Array(named[name].numpy().astype(kind)) for name, kind in self.kinds.items()}
        )


def tensors(arrays: ArrayRecord) -> dict[str, torch.Tensor]:
    """Return named arrays as tensors; raise `Refused` for those that hold no numbers."""
    named: dict[str, torch.Tensor] = {}
    for name, array in arrays.items():
        try:
            named[name] = torch.from_numpy(array.numpy())
        except (TypeError, ValueError) as error:
            raise Refused(
                f"The array {name} is {array.dtype}, which torch does not know; arrays hold "
                "floating-point numbers, integers or truth values."
            ) from error
    return named


def _shallow(arrays: ArrayRecord) -> ArrayRecord:
    """Return another record of the same arrays: strategies take them out of what they are given."""
    record = ArrayRecord()  # given a dictionary, it would copy every array
    for name, array in arrays.items():
        record[name] = array
    return record
