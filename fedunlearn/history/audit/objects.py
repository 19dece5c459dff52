"""The search through memory: all that can be reached from some objects."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from fedunlearn.history import History, Round, Updates
from fedunlearn.history.audit.findings import Finding, clients, named
from fedunlearn.history.audit.fingerprints import Fingerprints, Mark
from fedunlearn.history.audit.reachable import memory, reachable

SMALLEST = 64
"""Coordinates from which on a vector of a model's size is taken for one."""


def search_objects(
    roots: Mapping[str, object],
    fingerprints: Fingerprints,
    *,
    expected: Iterable[Tensor] = (),
    beyond: Collection[object] = (),
) -> tuple[int, tuple[Finding, ...]]:
    """Return how many objects can be reached from ``roots``, by name, and what was found in them.

    Besides the leavers' bytes that is any vector of a model's size which is neither part of a
    history that was reached, nor equal to one that is or to one of ``expected``, nor constant as
    the state of a fresh server optimizer is: what an optimizer carries is made of past updates.
    What ``beyond`` names is not searched.
    """
    things = list(reachable(roots, (*beyond, fingerprints)))
    explained = [*expected, *(tensor for _, thing in things for tensor in _explained(thing))]
    in_place = {id(tensor) for tensor in explained}
    findings: list[Finding] = []
    searched: set[tuple[int, int]] = set()
    for path, thing in things:
        try:
            content = memory(thing)
        except ValueError:
            continue  # closed
        except RuntimeError as error:
            what = f"{path} cannot be searched: {str(error).rstrip('.')}."
            findings.append(Finding("unreadable", path, what))
            continue
        if content is None:
            continue
        marks: set[Mark] = set()
        place = (content.ctypes.data, len(content))
        if place not in searched:
            marks = fingerprints.marks_in(content)
            # a copy's address will be another's
            if isinstance(thing, Tensor) and thing.device.type == "cpu":
                searched.add(place)
        findings += named("server state", path, marks)
        vector = None if id(thing) in in_place else _vector(thing, fingerprints.d)
        if vector is not None and not marks and not any(_same(vector, m) for m in explained):
            what = (
                f"{path} has the size of a model and no history explains it: it may carry what "
                f"{clients(fingerprints.leavers)} sent. Start it afresh, or declare it known."
            )
            findings.append(Finding("server state", path, what))
    return len(things), tuple(findings)


def _explained(thing: object) -> Iterator[Tensor]:
    """Yield the models and updates that are in their place; the leavers' are found by bytes."""
    match thing:
        case History():
            yield from (thing.initial, thing.final)
        case Round() if thing.broadcast is not None:
            yield thing.broadcast
        case Updates():
            yield thing.deltas


def _vector(thing: object, d: int) -> Tensor | None:
    """Return ``thing`` if it is floats [..., d] that are not all the same."""
    if isinstance(thing, np.ndarray) and thing.dtype in (np.float16, np.float32, np.float64):
        thing = torch.from_numpy(thing.copy())
    if not isinstance(thing, Tensor) or thing.layout != torch.strided or d < SMALLEST:
        return None
    sized = thing.is_floating_point() and thing.ndim > 0 and thing.shape[-1] == d
    if not sized or thing.device.type == "meta" or not thing.numel():
        return None
    return thing if (thing != thing.flatten()[0]).any() else None


def _same(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are equal, bit by bit but for zeros."""
    alike = (one.dtype, one.shape, one.device) == (other.dtype, other.shape, other.device)
    return alike and torch.equal(one, other)
