import itertools

import numpy as np
import pytest

from fedunlearn.results.plots.placement import clusters, place

FRAME = np.array([0.0, 0.0, 240.0, 200.0])
NOTHING = np.empty((0, 4))


def shared(one, other):
    """The area that two boxes have in common."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return max(width, 0) * max(height, 0)


def around(points, half=4):
    return np.concatenate([points - half, points + half], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_labels_cover_nothing_and_stay_inside_where_there_is_room(seed):
    points = np.random.default_rng(seed).uniform([20, 20], [220, 180], size=(7, 2))
    marks = around(points)
    boxes = place(points, np.full((7, 2), [50.0, 9.0]), FRAME, marks)
    assert all(shared(*pair) == 0 for pair in itertools.combinations(boxes, 2))
    assert all(shared(box, mark) == 0 for box in boxes for mark in marks)
    assert (boxes[:, :2] >= FRAME[:2]).all()
    assert (boxes[:, 2:] <= FRAME[2:]).all()


def test_a_label_has_its_size_and_lies_beside_its_point():
    point = np.array([[120.0, 100.0]])
    (box,) = place(point, np.array([[40.0, 10.0]]), FRAME, around(point))
    np.testing.assert_allclose(box[2:] - box[:2], [40, 10])
    assert np.linalg.norm(np.clip(point, box[:2], box[2:]) - point) < 10


def test_labels_of_one_place_are_put_around_it():
    points = np.full((5, 2), 100.0)
    boxes = place(points, np.full((5, 2), [40.0, 9.0]), FRAME, around(points))
    assert all(shared(*pair) == 0 for pair in itertools.combinations(boxes, 2))


def test_where_everything_is_covered_the_least_covered_place_is_taken():
    wall = np.array([[0.0, 0.0, 240.0, 190.0]])
    (box,) = place(np.array([[120.0, 150.0]]), np.array([[40.0, 20.0]]), FRAME, wall)
    assert shared(box, wall[0]) < 40 * 20


def test_nothing_to_label():
    assert place(np.empty((0, 2)), np.empty((0, 2)), FRAME, NOTHING).shape == (0, 4)


def test_clusters_are_chains_of_near_points():
    points = np.array([[0.0, 0], [20, 0], [5, 0], [10, 0], [20, 3]])
    found = {frozenset(group) for group in clusters(points, within=6)}
    assert found == {frozenset({0, 2, 3}), frozenset({1, 4})}


def test_clusters_do_not_depend_on_the_order_of_points():
    points = np.random.default_rng(0).uniform(0, 60, size=(12, 2))
    order = np.random.default_rng(1).permutation(12)
    forwards = {frozenset(group) for group in clusters(points, 12)}
    shuffled = {frozenset(order[group].tolist()) for group in clusters(points[order], 12)}
    assert forwards == shuffled
