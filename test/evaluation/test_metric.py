# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The metric against loops over pixels."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clip_dinoiser_ros.evaluation.boundaries import WIDTHS, count_near_edges, edge_distance
from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS, Counts

K = 5
VALUES = st.sampled_from([*range(K), NO_CLASS, IGNORED])
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)


@st.composite
def images(draw):
    shape = draw(SHAPES)
    truth = draw(hnp.arrays(np.uint16, shape, elements=VALUES))
    predicted = draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([*range(K), NO_CLASS])))
    return truth, predicted


def by_loops(pairs):
    intersect, predicted, labelled = ([0] * K for _ in range(3))
    pixels = 0
    for truth, found in pairs:
        for t, p in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
            if t == IGNORED:
                continue
            pixels += 1
            for k in range(K):
                intersect[k] += t == k == p
                predicted[k] += p == k
                labelled[k] += t == k
    return intersect, predicted, labelled, pixels


@given(st.lists(images(), min_size=1, max_size=4))
def test_counts_are_summed_over_all_images(pairs):
    total = Counts.zero(K)
    for truth, predicted in pairs:
        total += Counts.of(truth, predicted, K)
    intersect, predicted, labelled, pixels = by_loops(pairs)
    assert total.intersect.tolist() == intersect
    assert total.predicted.tolist() == predicted
    assert total.labelled.tolist() == labelled
    assert total.pixels == pixels
    ious = [
        intersect[k] / union
        for k in range(K)
        if (union := predicted[k] + labelled[k] - intersect[k])
    ]
    if ious:
        assert total.miou == pytest.approx(sum(ious) / len(ious))
    else:
        assert np.isnan(total.miou)
    if pixels:
        assert total.accuracy == pytest.approx(sum(intersect) / pixels)
    again = Counts.from_sparse(json.loads(json.dumps(total.sparse())), K)
    assert all(
        np.array_equal(getattr(again, name), getattr(total, name))
        for name in ('intersect', 'predicted', 'labelled', 'pixels')
    )


def test_a_class_that_is_only_predicted_counts_with_0_and_one_in_neither_not_at_all():
    truth = np.array([[0, 0, 1, IGNORED]], np.uint16)
    predicted = np.array([[0, 0, 2, 3]], np.uint16)
    counts = Counts.of(truth, predicted, K)
    assert counts.union.tolist() == [2, 1, 1, 0, 0]
    assert counts.miou == pytest.approx(1 / 3)


def test_a_true_label_beyond_the_classes_is_nobodys_but_its_prediction_counts():
    counts = Counts.of(np.array([[NO_CLASS]], np.uint16), np.array([[1]], np.uint16), K)
    assert counts.predicted.tolist() == [0, 1, 0, 0, 0]
    assert counts.labelled.sum() == 0
    assert counts.pixels == 1


@given(images())
def test_bands_around_edges_by_loops(pair):
    truth, predicted = pair
    height, width = truth.shape
    edges = [
        (y, x)
        for y in range(height)
        for x in range(width)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and truth[v, u] != truth[y, x]
    ]
    found = count_near_edges(truth, predicted, K)
    distance = edge_distance(truth)
    for y in range(height):
        for x in range(width):
            exact = min((np.hypot(y - v, x - u) for v, u in edges), default=np.inf) + 1
            # OpenCV's distance of 5x5 steps is up to 2 % off
            assert distance[y, x] == pytest.approx(exact, rel=0.03)
    for limit in WIDTHS:
        near = distance <= limit
        expected = by_loops([(truth[near], predicted[near])])
        assert found[limit].intersect.tolist() == expected[0]
        assert found[limit].predicted.tolist() == expected[1]
        assert found[limit].labelled.tolist() == expected[2]


def test_a_straight_edge_has_bands_on_both_sides():
    truth = np.zeros((40, 40), np.uint16)
    truth[:, 20:] = 1
    found = count_near_edges(truth, truth, 2)
    assert [found[w].pixels for w in WIDTHS] == [40 * 2 * w for w in WIDTHS]
    predicted = np.roll(truth, 1, axis=1)  # one column of pixels is wrong, left and right of it
    predicted[:, 0] = 0
    found = count_near_edges(truth, predicted, 2)
    assert [found[w].pixels - found[w].intersect.sum() for w in WIDTHS] == [40] * len(WIDTHS)
    assert found[1].accuracy == 0.5
    assert found[16].accuracy == 1 - 1 / 32


def test_an_image_without_edges_has_no_bands():
    truth = np.zeros((4, 4), np.uint16)
    assert all(counts.pixels == 0 for counts in count_near_edges(truth, truth, 2).values())
