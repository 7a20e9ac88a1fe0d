# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sharpening along edges, against a slow reference and by what must always hold."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from clip_dinoiser_ros.core import edges
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.upsample import TILE_ELEMENTS

EXAMPLES = settings(max_examples=30, deadline=None)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))


class Names(SimpleNamespace):
    def __len__(self):
        return len(self.names)


def make_patches(chance, count, grid, extent=None, filtered=False, sharpness=1.0):
    """Random probabilities; with a filter, class 0 is the background in some patches."""
    logits = sharpness * torch.from_numpy(chance.normal(size=(count, *grid)).astype(np.float32))
    probabilities, confidence = logits.softmax(dim=0), None
    if filtered:
        taken = torch.from_numpy(chance.random(grid) < 0.3)
        confidence = torch.where(taken, 0.75, probabilities[0])
        probabilities[0][taken] = 1.0
    names = Names(names=tuple('abcdefghij'[:count]), background=0 if filtered else None)
    return Patches(probabilities, confidence, extent or tuple(map(float, grid)), names)


def make_image(chance, height, width):
    """Random blocks, so that there are edges and flat parts."""
    small = chance.integers(0, 255, (max(1, height // 24), max(1, width // 24), 3))
    image = np.kron(small, np.ones((48, 48, 1))).astype(np.uint8)[:height, :width]
    return np.ascontiguousarray(image)


def slow_weights(image):
    """The weights of the paper's equation, cell by cell: {(cell, neighbour index): weight}."""
    height, width = image.shape[:2]
    moves = [
        (d * y, d * x)
        for d in edges.DISTANCES
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (y, x) != (0, 0)
    ]
    weights = np.zeros((len(moves), height, width))
    for v in range(height):
        for u in range(width):
            own = image[v, u]
            around = np.stack(
                [
                    image[min(max(v + dy, 0), height - 1), min(max(u + dx, 0), width - 1)]
                    for dy, dx in moves
                ]
            )
            deviation = np.concatenate([around, own[None]]).std(axis=0, ddof=1)
            likeness = -(np.abs(around - own) / (deviation + 1e-3)).mean(axis=1) * edges.SHARPNESS
            likeness = np.exp(likeness - likeness.max())
            weights[:, v, u] = likeness / likeness.sum()
    return moves, weights


def slow_refinement(cells, image, steps):
    moves, weights = slow_weights(image.astype(np.float64))
    height, width = image.shape[:2]
    for _ in range(steps):
        result = np.zeros_like(cells)
        for v in range(height):
            for u in range(width):
                for (dy, dx), weight in zip(moves, weights[:, v, u], strict=True):
                    y, x = min(max(v + dy, 0), height - 1), min(max(u + dx, 0), width - 1)
                    result[:, v, u] += weight * cells[:, y, x]
        cells = result
    return cells


@EXAMPLES
@given(st.integers(0, 10**6), shapes, st.integers(1, 5), st.sampled_from(['fast', 'fine']))
def test_refinement_equals_the_equation_of_the_paper(seed, grid, count, mode):
    chance = np.random.default_rng(seed)
    patches = make_patches(chance, count, grid)
    size = (4 * grid[0], 4 * grid[1])
    image = make_image(chance, *size)
    found = edges.refine(patches, image, mode)
    cells = torch.nn.functional.interpolate(
        patches.probabilities[None].double(), size, mode='bilinear'
    )
    expected = slow_refinement(cells[0].numpy(), image, edges.STEPS[mode])
    possible = edges._possible(patches.probabilities).numpy()
    np.testing.assert_allclose(found.probabilities[possible], expected[possible], atol=2e-5)
    np.testing.assert_allclose(found.probabilities.sum(dim=0), 1.0, atol=1e-5)
    assert found.extent == size


@EXAMPLES
@given(st.integers(0, 10**6), shapes, st.integers(1, 8), st.floats(1.0, 12.0))
def test_classes_that_cannot_win_are_left_out_without_a_difference(seed, grid, count, sharpness):
    chance = np.random.default_rng(seed)
    patches = make_patches(chance, count, grid, sharpness=sharpness)
    image = make_image(chance, 16 * grid[0], 16 * grid[1])
    found = edges.refine(patches, image, 'fast')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, '_possible', lambda p: torch.ones(len(p), dtype=bool))
        whole = edges.refine(patches, image, 'fast')
    first, second = (one.enlarge(image.shape[:2]) for one in (found, whole))
    assert (first.labels == second.labels).all()
    np.testing.assert_allclose(first.confidence, second.confidence, atol=1e-5)


def test_few_classes_are_kept_of_many_that_are_sharp():
    chance = np.random.default_rng(0)
    logits = torch.from_numpy(chance.normal(size=(200, 6, 8)).astype(np.float32))
    logits[:5] += 12.0
    possible = edges._possible(logits.softmax(dim=0))
    assert possible.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4]


@EXAMPLES
@given(st.integers(0, 10**6), shapes, st.integers(2, 5))
def test_with_the_background_filter(seed, grid, count):
    chance = np.random.default_rng(seed)
    patches = make_patches(chance, count, grid, filtered=True)
    image = make_image(chance, 16 * grid[0], 16 * grid[1])
    found = edges.refine(patches, image, 'fine')
    result = found.enlarge(image.shape[:2])
    maps = found.class_confidences(image.shape[:2])
    np.testing.assert_allclose(maps.sum(axis=0), 1.0, atol=1e-5)
    taken = result.labels == 0
    np.testing.assert_allclose(result.confidence[taken], maps[0][taken], atol=1e-5)
    assert ((result.confidence >= 0.0) & (result.confidence <= 1.0)).all()


def test_edges_of_the_image_become_edges_of_the_labels():
    """A red half and a green one; their border lies within a patch."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, :72, 0] = image[:, 72:, 1] = 200
    right = torch.linspace(0.0, 1.0, 8).expand(8, 8)
    names = Names(names=('red', 'green'), background=None)
    patches = Patches(torch.stack([1.0 - right, right]), None, (8.0, 8.0), names)
    truth = image[..., 1] > 0
    wrong = {
        mode: (edges.refine(patches, image, mode).enlarge((128, 128)).labels != truth).mean()
        for mode in edges.STEPS
    }
    assert wrong['off'] > 0.05
    assert wrong['fast'] < 0.03
    assert wrong['fine'] < 0.01


def test_an_even_image_changes_even_probabilities_in_nothing():
    chance = np.random.default_rng(0)
    column = torch.from_numpy(chance.dirichlet(np.ones(4)).astype(np.float32))
    names = Names(names=tuple('abcd'), background=None)
    patches = Patches(column[:, None, None].expand(4, 3, 5), None, (3.0, 5.0), names)
    found = edges.refine(patches, np.full((48, 80, 3), 90, np.uint8), 'fine')
    torch.testing.assert_close(found.probabilities, column[:, None, None].expand(4, 12, 20))


def test_padding_is_left_out():
    """An image of 40x24 pixels lies in 3x2 patches of which the last ones are partly padding."""
    chance = np.random.default_rng(0)
    patches = make_patches(chance, 3, (2, 3), extent=(1.5, 2.5))
    found = edges.refine(patches, make_image(chance, 24, 40), 'fast')
    assert found.probabilities.shape == (3, 6, 10)
    plain = patches.enlarge((24, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(edges.STEPS, 'fast', 0)
        assert edges.refine(patches, make_image(chance, 24, 40), 'fast') is patches
    assert (plain.labels == found.enlarge((24, 40)).labels).mean() > 0.7


def test_off_changes_nothing_and_other_names_are_refused():
    patches = make_patches(np.random.default_rng(0), 3, (2, 3))
    image = np.zeros((32, 48, 3), np.uint8)
    assert edges.refine(patches, image, 'off') is patches
    with pytest.raises(ValueError, match="edges is 'sharp'; allowed: off, fast, fine"):
        edges.refine(patches, image, 'sharp')


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return result


@pytest.mark.parametrize('size', [(480, 640), (1080, 1440)])
def test_no_tensor_has_all_classes_in_all_pixels(size):
    """Those of the refinement have cells, whatever the size of the image; the rest has tiles."""
    chance = np.random.default_rng(0)
    classes, grid = 60, (28, 37)
    patches = make_patches(chance, classes, grid)
    image = make_image(chance, *size)
    with Largest() as refining:
        found = edges.refine(patches, image, 'fine')
    margin = 2 * max(edges.DISTANCES)  # and one map for classes that cannot win
    cells = (edges.CELLS * grid[0] + margin) * (edges.CELLS * grid[1] + margin)
    assert classes * 16 * grid[0] * grid[1] < refining.elements <= (classes + 1) * cells
    with Largest() as enlarging:
        found.enlarge(size)
    assert enlarging.elements <= max(size[0] * size[1], TILE_ELEMENTS, refining.elements)
    assert classes * size[0] * size[1] > 9 * max(refining.elements, enlarging.elements)
