"""Models in Flower's records: a tensor stays a tensor until somebody asks for its bytes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

from fedunlearn.local import Mask
from fedunlearn.models import Vector


class TensorArray(Array):
    """A Flower Array around a CPU tensor; whoever only passes it on in this process copies nothing.

    Sent to another process it becomes an ordinary Array. The tensor is shared: do not change it.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()
        self.dtype = str(tensor.dtype).removeprefix("torch.")
        self.shape, self.stype = tuple(tensor.shape), "numpy.ndarray"

    @property
    def tensor(self) -> Tensor:
        """The tensor itself."""
        return self._tensor

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The bytes that an ordinary Array would hold, made when they are read."""
        return self._copied().data

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the tensor's own memory as an array."""
        return self._tensor.numpy()

    def deflate(self) -> bytes:
        """Return the form for the network, which names the class: that of an ordinary Array."""
        return self._copied().deflate()

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        """Travel as an ordinary Array."""
        return Array, (self.dtype, self.shape, self.stype, self.data)

    def _copied(self) -> Array:
        return Array(self._tensor.numpy())


WEIGHTS = "weights"
"""The name of the model in a message."""

OTHER = "other"
"""The name of a second model, which some local work compares with."""


MASK = "mask"
"""The name of what says how far which parameters may move, as `Mask.packed`."""

MOVED = "moved"
"""The name of what may move of a model in a reply, where a mask was sent."""


RANKING = "ranking"
"""The name of the model by which a client ranks its records, where only some of them count."""


def pack(
    weights: Vector,
    other: Vector | None = None,
    mask: Mask | None = None,
    ranking: Vector | None = None,
) -> ArrayRecord:
    """Put a model [d] into an ArrayRecord, with what else is sent along."""
    record = ArrayRecord()  # given a dictionary, it would copy every array
    record[WEIGHTS] = TensorArray(weights)
    if other is not None:
        record[OTHER] = TensorArray(other)
    if mask is not None:
        record[MASK] = TensorArray(mask.packed)
    if ranking is not None:
        record[RANKING] = TensorArray(ranking)
    return record


def unpack(content: RecordDict, name: str = WEIGHTS) -> Tensor:
    """Take a model [d] out of a message; it may be shared, so do not change it."""
    record = content["arrays"]
    assert isinstance(record, ArrayRecord)
    array = record[name]
    return array.tensor if isinstance(array, TensorArray) else torch.from_numpy(array.numpy())


def differences(vectors: Sequence[Vector], start: Vector) -> Tensor:
    """Return ``w_i - w`` for k vectors w_i [d] and one ``start`` w [d], as one matrix [k, d].

    Where the vectors are the rows of a matrix already, as the replies of a cohort are, they are
    not copied one by one. Raises RuntimeError for no vectors.
    """
    rows = _rows(vectors)
    return torch.stack(list(vectors)).sub_(start) if rows is None else rows - start


def lengths(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean lengths of k tensors of one shape, [k]: nan or inf where any number is.

    It is inf as well where the sum of squares overflows.
    """
    vectors = [tensor.reshape(-1) for tensor in tensors]
    rows = _rows(vectors)
    if rows is not None and rows.is_floating_point():
        length: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return length
    one_by_one = [v if v.is_floating_point() else v.double() for v in vectors]
    return torch.tensor([float(torch.linalg.vector_norm(vector)) for vector in one_by_one])


def _rows(vectors: Sequence[Vector]) -> Tensor | None:
    """Return the matrix [k, d] whose rows k vectors [d] are, or None where they lie apart."""
    if not vectors:
        return None
    first = vectors[0]
    memory, begin, step = first.untyped_storage().data_ptr(), first.storage_offset(), len(first)
    for place, vector in enumerate(vectors):
        apart = vector.untyped_storage().data_ptr() != memory
        if apart or vector.storage_offset() != begin + place * step or not vector.is_contiguous():
            return None
    return first.as_strided((len(vectors), step), (step, 1))


def payload(arrays: ArrayRecord) -> int:
    """Return the bytes of the numbers in ``arrays``, without any header."""
    return sum(
        array.tensor.nbytes
        if isinstance(array, TensorArray)
        else math.prod(array.shape) * np.dtype(array.dtype).itemsize
        for array in arrays.values()
    )
