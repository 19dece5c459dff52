"""How updates [k, d] float32 are stored, and what that costs in bytes and in accuracy.

The first dimension of every stored tensor is the client, so that a client is dropped by choosing
rows, without decoding. Only float32 keeps what is not finite; the others refuse it, and what lies
beyond their range, because a clipped update would pass for a real one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import ShareAboveZero

Stored = Mapping[str, Tensor]
"""Encoded updates: tensors by name, each [k, ...]."""


class Unencodable(ValueError):
    """Updates that an encoding cannot represent; ``rows`` are those of the clients."""

    def __init__(self, rows: Sequence[int], reason: str) -> None:
        super().__init__(f"Rows {list(rows)} of the updates cannot be stored as {reason}.")
        self.rows = tuple(rows)
        self.reason = reason


class Encoding(Protocol):
    """A way to store updates; a value."""

    @property
    def name(self) -> str:
        """What a file calls it; `of` finds it again."""
        ...

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Turn [k, d] float32 into what is stored; raises `Unencodable` for what cannot be."""
        ...

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Turn what is stored back into [k, d] float32."""
        ...

    def nbytes(self, k: int, d: int) -> int:
        """Return the bytes that the updates of ``k`` clients take."""
        ...


@dataclass(frozen=True, slots=True)
class Float32:
    """As they are, bit by bit: 4 bytes a coordinate; whatever is not finite too."""

    name: ClassVar[str] = "float32"

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Return the updates themselves."""
        return {"values": _matrix(deltas)}

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Return what is stored itself, without a copy."""
        return stored["values"]

    def nbytes(self, k: int, d: int) -> int:
        """``4 k d``."""
        return 4 * k * d


@dataclass(frozen=True, slots=True)
class BFloat16:
    """2 bytes a coordinate and float32's range: off by at most 2^-8 of each coordinate."""

    name: ClassVar[str] = "bfloat16"

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Round to the nearest; raises `Unencodable` for what is not finite."""
        _peaks(deltas, self.name, torch.finfo(torch.bfloat16).max)
        return {"values": deltas.bfloat16()}

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Widen to float32, exactly."""
        return stored["values"].float()

    def nbytes(self, k: int, d: int) -> int:
        """``2 k d``."""
        return 2 * k * d


@dataclass(frozen=True, slots=True)
class Float16:
    """2 bytes a coordinate: off by at most 2^-11 of each, or by 2^-25 where it is below 2^-14."""

    name: ClassVar[str] = "float16"

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Round to the nearest; raises `Unencodable` above 65504 or for what is not finite."""
        _peaks(deltas, self.name, torch.finfo(torch.float16).max)
        return {"values": deltas.half()}

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Widen to float32, exactly."""
        return stored["values"].float()

    def nbytes(self, k: int, d: int) -> int:
        """``2 k d``."""
        return 2 * k * d


@dataclass(frozen=True, slots=True)
class Int8:
    """1 byte a coordinate, in steps of ``s = max |u| / 127`` a row: off by at most s / 2 each."""

    name: ClassVar[str] = "int8"

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Round to the nearest step; raises `Unencodable` for what is not finite."""
        peaks = _peaks(deltas, self.name, torch.finfo(torch.float32).max)
        # a scale below float32's normal range is itself too coarse; a row of zeros has none
        scales = (peaks / 127).clamp_min(torch.finfo(torch.float32).tiny)
        codes = (deltas / scales[:, None]).round_().to(torch.int8)
        return {"codes": codes, "scales": scales}

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Return ``s q``."""
        return stored["codes"].float().mul_(stored["scales"][:, None])

    def nbytes(self, k: int, d: int) -> int:
        """``k (d + 4)``."""
        return k * (d + 4)


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``ceil(share d)`` largest coordinates of each row, 8 bytes each; the rest is zero.

    No other choice of as many coordinates comes closer in Euclidean distance.
    """

    share: ShareAboveZero

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def name(self) -> str:
        """What a file calls it."""
        return f"{TOPK}{float(self.share)!r}"

    def count(self, d: int) -> int:
        """Return ``ceil(share d)``, of the share as it is written: 0.07 of 100 are 7."""
        return math.ceil(Fraction(repr(float(self.share))) * d)

    def encode(self, deltas: Tensor) -> dict[str, Tensor]:
        """Choose the largest magnitudes, in order of place; raises `Unencodable` if not finite."""
        _peaks(deltas, self.name, torch.finfo(torch.float32).max)
        largest = torch.topk(deltas.abs(), self.count(deltas.shape[1]), dim=1, sorted=False).indices
        # numpy sorts int32 several times faster than torch
        places = torch.from_numpy(np.sort(largest.int().numpy(force=True), axis=1))
        places = places.to(deltas.device)
        return {"indices": places, "values": deltas.gather(1, places.long())}

    def decode(self, stored: Stored, d: int) -> Tensor:
        """Put every value at its place among zeros."""
        values = stored["values"]
        return values.new_zeros(len(values), d).scatter_(1, stored["indices"].long(), values)

    def nbytes(self, k: int, d: int) -> int:
        """``8 k ceil(share d)``."""
        return 8 * k * self.count(d)


TOPK = "topk-"

SIMPLE: dict[str, Encoding] = {e.name: e for e in (Float32(), BFloat16(), Float16(), Int8())}

KNOWN = (*SIMPLE, f"{TOPK}0.1")
"""Encodings by name, with one of many shares; messages offer them."""


def of(name: str) -> Encoding:
    """Return the encoding that a file calls ``name``; raises `Refused` where there is none."""
    share = name.removeprefix(TOPK)
    if share != name:
        try:
            return TopK(float(share))
        except ValueError as error:
            shown = checks.shown(share)
            raise checks.Refused(
                f"{checks.short(name)} is no encoding: {shown} is no share."
            ) from error
    checks.member("encoding", name, KNOWN)
    return SIMPLE[name]


@dataclass(frozen=True)
class Known:
    """The bound of a field that names an encoding."""

    words: str = f"{', '.join(SIMPLE)} or {TOPK}SHARE"

    def wrong(self, value: object, or_null: str = "") -> str:
        """Return the end of the sentence about a value that `of` does not know."""
        if not isinstance(value, str):
            return f" must be {self.words}{or_null}, not {checks.shown(value)}."
        try:
            of(value)
        except checks.Refused:
            return f"={checks.short(value)} does not exist{checks.nearest(value, KNOWN)}"
        return ""


Name = Annotated[str, Known()]


def select(stored: Stored, rows: Sequence[int]) -> dict[str, Tensor]:
    """Return the stored updates of the clients in ``rows``, without decoding."""
    return {name: tensor[list(rows)] for name, tensor in stored.items()}


def check(encoding: Encoding, stored: Stored, k: int, d: int) -> None:
    """Raise ValueError, with the end of a sentence, unless this is how [k, d] is stored."""
    made = encoding.encode(torch.empty(0, d))
    wanted = {name: (part.dtype, [k, *part.shape[1:]]) for name, part in made.items()}
    forms = {name: (part.dtype, [*part.shape]) for name, part in stored.items()}
    if forms != wanted:
        raise ValueError(f"its updates are not stored as {encoding.name} of [{k}, {d}] is")
    scales, places = stored.get("scales"), stored.get("indices")
    if scales is not None and not (scales.isfinite() & (scales > 0)).all():
        raise ValueError("a scale of its updates is not a positive number")
    if places is not None and places.numel():
        inside = int(places[:, 0].min()) >= 0 and int(places[:, -1].max()) < d
        if not inside or not (places[:, 1:] > places[:, :-1]).all():
            raise ValueError("it puts values at places that an update does not have")


def relative_error(encoding: Encoding, deltas: Tensor) -> float:
    """Return ``|decoded - u| / |u|`` in Frobenius norm, 0 where all of u is 0."""
    error = encoding.decode(encoding.encode(deltas), deltas.shape[1]) - deltas
    lost, whole = (
        torch.linalg.vector_norm(matrix, dtype=torch.float64).item() for matrix in (error, deltas)
    )
    return lost / whole if whole else 0.0


def _peaks(deltas: Tensor, name: str, limit: float) -> Tensor:
    """Return the largest magnitude of each row, [k]; refuse those that exceed ``limit``."""
    low, high = torch.aminmax(_matrix(deltas), dim=1)
    peaks = torch.maximum(-low, high)
    # what is not a number compares as false
    beyond = (~(peaks <= limit)).nonzero().flatten().tolist()
    if beyond:
        raise Unencodable(beyond, f"{name}: they are not finite or exceed {limit:g}")
    return peaks


def _matrix(deltas: Tensor) -> Tensor:
    """Return ``deltas``; raise ValueError unless int32 can number their coordinates."""
    if deltas.dtype != torch.float32 or deltas.ndim != 2 or not 1 <= deltas.shape[1] < 2**31:
        raise ValueError(f"Updates are [k, d] float32, not {list(deltas.shape)} {deltas.dtype}.")
    return deltas
