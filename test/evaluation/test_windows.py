# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows against a slow, obvious reference: pixel by pixel, and step by step as the paper's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import DEVICES
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.evaluation import windows
from clip_dinoiser_ros.evaluation.windows import (
    find_labels,
    interpolation,
    join,
    resized_size,
    spans,
    window_grid,
)

PATCH = 16


@given(length=st.integers(1, 5000))
def test_windows_cover_a_side(length):
    placed = spans(length)
    covered = np.zeros(length, int)
    for start, end in placed:
        covered[start:end] += 1
        assert end - start == min(length, 448)
    assert covered.min() >= 1
    starts = [start for start, _ in placed]
    assert starts[:-1] == [224 * index for index in range(len(starts) - 1)]
    assert placed[-1][1] == length
    # no more windows than are needed: without the last one, the end would not be covered
    assert len(placed) == 1 or placed[-2][1] < length


@given(height=st.integers(1, 6000), width=st.integers(1, 6000))
def test_the_short_side_becomes_448_unless_the_long_one_would_exceed_2048(height, width):
    short, long = sorted((height, width))
    new_short, new_long = sorted(resized_size(height, width))
    if long * 448 <= 2048 * short:
        assert new_short == 448
        assert abs(new_long - long * 448 / short) <= 0.5 + 1e-9
    else:
        assert new_long == 2048
        assert abs(new_short - short * 2048 / long) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ('size', 'resized'),
    # those of the golden files: README of the miniature data sets
    [
        ((120, 160), (448, 597)),
        ((166, 110), (676, 448)),
        ((97, 220), (448, 1016)),
        ((40, 212), (386, 2048)),
        ((600, 1200), (448, 896)),
    ],
)
def test_known_sizes(size, resized):
    assert resized_size(*size) == resized


@given(source=st.integers(1, 40), target=st.integers(1, 60))
def test_interpolation_is_that_of_torch(source, target):
    values = torch.rand(1, 1, source)
    expected = F.interpolate(values, target, mode='linear', align_corners=False)[0, 0]
    found = interpolation(source, target).float() @ values[0, 0]
    torch.testing.assert_close(found, expected)


def step_by_step(found, placed, resized, size):
    """Enlarge each window, add it up, divide by how many lie there, enlarge, softmax, argmax."""
    total = torch.zeros(found[0].shape[0], *resized)
    count = torch.zeros(1, *resized)
    patches = iter(found)
    for top, bottom in placed.rows:
        for left, right in placed.columns:
            of_window = F.interpolate(
                next(patches)[None],
                (bottom - top, right - left),
                mode='bilinear',
                align_corners=False,
            )[0]
            total[:, top:bottom, left:right] += of_window
            count[:, top:bottom, left:right] += 1
    mean = total / count
    return F.interpolate(mean[None], size, mode='bilinear', align_corners=False)[0].softmax(0)


@st.composite
def merged(draw):
    monkey_window = draw(st.sampled_from([32, 48]))
    resized = (draw(st.integers(8, 130)), draw(st.integers(8, 130)))
    size = (draw(st.integers(1, 150)), draw(st.integers(1, 150)))
    return monkey_window, resized, size, draw(st.integers(1, 30)), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=60)
@given(merged())
def test_labels_are_those_of_the_steps(case):
    """The windows are smaller here, so that there are many in a small image."""
    window, resized, size, classes, seed = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, 'WINDOW', window)
        patch.setattr(windows, 'STRIDE', window // 2)
        windows.side_matrix.cache_clear()
        placed = window_grid(*resized)
        generator = torch.Generator().manual_seed(seed)
        found = []
        for top, bottom in placed.rows:
            for left, right in placed.columns:
                # a window that is no multiple of the patch was padded: the grid is squeezed
                h, w = -(-(bottom - top) // PATCH), -(-(right - left) // PATCH)
                scores = torch.randn(classes, h, w, generator=generator)
                found.append((4 * scores).softmax(dim=0))
        expected = step_by_step(found, placed, resized, size)
        labels = find_labels(join(found, placed), resized, size, placed)
        windows.side_matrix.cache_clear()
    assert labels.shape == size
    chosen = expected.gather(0, labels[None])[0]
    # every label is the most probable class, up to the rounding of the probabilities
    assert (expected.amax(dim=0) - chosen).max() < 1e-6
    clear = expected.sort(dim=0).values.diff(dim=0)[-1] > 1e-6 if classes > 1 else chosen > 0
    assert torch.equal(labels[clear], expected.argmax(dim=0)[clear])


def test_of_equal_classes_the_lower_one_wins():
    placed = window_grid(448, 448)
    same = torch.full((5, 1, 1), 0.2)
    assert find_labels(same, (448, 448), (30, 40), placed).eq(0).all()
    same[3] += 2e-8
    assert same[3] > same[0]  # but by too little to show behind the second softmax
    assert find_labels(same, (448, 448), (30, 40), placed).eq(0).all()
    same[3] += 1e-6
    assert find_labels(same, (448, 448), (30, 40), placed).eq(3).all()


def test_merging_scores_outside_0_to_1():
    """MaskCLIP's refinement by keys gives such numbers."""
    generator = torch.Generator().manual_seed(0)
    placed = window_grid(448, 597)
    found = [30 * torch.randn(40, 28, 28, generator=generator) for _ in range(2)]
    expected = step_by_step(found, placed, (448, 597), (120, 160))
    labels = find_labels(join(found, placed), (448, 597), (120, 160), placed)
    assert (labels == expected.argmax(dim=0)).float().mean() > 0.999


def test_windows_are_joined_row_by_row():
    placed = window_grid(500, 900)
    assert (len(placed.rows), len(placed.columns)) == (2, 4)
    found = [torch.full((1, 28, 28), float(index)) for index in range(8)]
    joined = join(found, placed)
    assert joined.shape == (1, 56, 112)
    assert joined[0, ::28, ::28].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    image = torch.arange(500 * 900).reshape(500, 900, 1)
    crops = placed.crops(image)
    assert [tuple(crop.shape) for crop in crops] == [(448, 448, 1)] * 8
    assert torch.equal(crops[5], image[52:, 224:672])


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.3, 3.0, 30.0]))
def test_classes_left_out_on_a_cpu_cannot_win(classes, seed, sharpness):
    """A GPU computes every class in every pixel, a CPU only those that can win."""
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(classes, 56, 56, generator=generator)
    probabilities, placed = scores.softmax(dim=0), window_grid(600, 500)
    rows, columns = (
        windows.side_matrix(*side)
        for side in windows._sides(probabilities, (600, 500), (90, 70), placed)
    )
    everywhere = windows._winners(rows @ (probabilities @ columns.T))
    found = find_labels(probabilities, (600, 500), (90, 70), placed)
    assert (found == everywhere).float().mean() > 0.999  # rounding may decide the others


@pytest.mark.parametrize('device', DEVICES)
def test_labels_are_the_same_on_every_device(device):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(30, 56, 84, generator=generator).softmax(dim=0)
    placed, sizes = window_grid(672, 896), ((672, 896), (300, 400))
    expected = find_labels(probabilities, *sizes, placed)
    found = find_labels(probabilities.to(device), *sizes, placed)
    assert found.device.type == device
    assert (found.cpu() == expected).float().mean() > 0.999
