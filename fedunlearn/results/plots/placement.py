"""Where labels go, so that none covers another label, a point or an error bar."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_DISTANCES, _ANGLES = np.meshgrid(
    np.arange(5, 120, 3.0), np.deg2rad(np.arange(0, 360, 15)), indexing="ij"
)


def clusters(points: Numbers, within: float) -> list[list[int]]:
    """Group points [n, 2] so that whoever is closer than ``within`` to a member is one, too."""
    groups: list[list[int]] = []
    for number, point in enumerate(points):
        near = [g for g in groups if (np.linalg.norm(points[g] - point, axis=1) < within).any()]
        groups = [g for g in groups if g not in near]
        groups.append([*(member for g in near for member in g), number])
    return groups


def place(points: Numbers, sizes: Numbers, frame: Numbers, obstacles: Numbers) -> Numbers:
    """Return the box ``left, bottom, right, top`` of each point's label, [n, 4].

    ``points`` is [n, 2], ``sizes`` [n, 2] the labels' widths and heights, ``frame`` [4] the box
    in which labels lie, ``obstacles`` [m, 4] are boxes that they leave free; all in points of
    1/72 inch. Labels are placed one after the other, each as near to its point as it lies free;
    where it lies free nowhere, it covers as little as it can.
    """
    taken = list(obstacles)
    for point, size in zip(points, sizes, strict=True):
        boxes = _candidates(point, size)
        outside = (boxes[:, :2] < frame[:2]).any(axis=1) | (boxes[:, 2:] > frame[2:]).any(axis=1)
        covered = np.where(outside, np.inf, _overlap(boxes, np.reshape(taken, (-1, 4))))
        taken.append(boxes[np.argmin(covered)])
    return np.reshape(taken[len(obstacles) :], (-1, 4))


def _candidates(point: Numbers, size: Numbers) -> Numbers:
    """Return boxes around ``point``, the nearest first: [candidates, 4]."""
    way = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)
    centre = point + way * _DISTANCES[..., None] + np.clip(1.5 * way, -1, 1) * size / 2
    centre = centre.reshape(-1, 2)
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def _overlap(boxes: Numbers, others: Numbers) -> Numbers:
    """Return the area that each of ``boxes`` [n, 4] shares with all ``others`` [m, 4]: [n]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared: Numbers = np.clip(high - low, 0, None).prod(axis=-1).sum(axis=-1)
    return shared
