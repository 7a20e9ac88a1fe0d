# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The rows of Table 2: teachers against the authors' numbers, and filters with made-up weights."""

import functools
import json

import numpy as np
import pytest
import timm
import torch
from miniature_data import CONFIG, DATA, DECODER, golden
from torch import nn

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.core.preprocess import Preprocess
from clip_dinoiser_ros.evaluation.table_models import BACKGROUNDS, METHODS, TableModel, TableRow
from clip_dinoiser_ros.training.dino import (
    BASE,
    SMALL,
    DinoAffinity,
    FoundObjects,
    load_dino,
    load_found,
)

SIZES = ('160x176', '171x215', '224x224', '96x304')


def padded(size):
    """An image of the golden file, as the authors pad it: (1, 3, H, W) in [0, 1], and its grid."""
    image = torch.from_numpy(golden('teachers')[f'{size}/image']).permute(2, 0, 1)[None] / 255
    height, width = image.shape[2:]
    image = nn.functional.pad(image, (0, -width % 16, 0, -height % 16))
    return image, (image.shape[2] // 16, image.shape[3] // 16)


@pytest.mark.long
def test_dinos_affinity_is_the_authors(dino_base_file):
    affinity, expected = DinoAffinity(load_dino(BASE, dino_base_file)), golden('teachers')
    for size in SIZES:
        found = affinity(*padded(size))[0].numpy()
        np.testing.assert_allclose(found, expected[f'{size}/affinity'], atol=1e-5)
        bits = np.unpackbits(expected[f'{size}/affinity_kept'])[: found.size]
        assert ((found >= 0.2) == bits.reshape(found.shape)).all()


@pytest.mark.skipif(not DECODER.exists(), reason=f'no {DECODER}; see miniature/README.md')
def test_founds_objects_are_the_authors(dino_small_file):
    objects = FoundObjects(load_dino(SMALL, dino_small_file), load_found(DECODER))
    expected = golden('teachers')
    for size in SIZES:
        found = objects(*padded(size))[0, 0].numpy()
        np.testing.assert_allclose(found, expected[f'{size}/found'], atol=2e-5)
        assert ((found > 0.5) == expected[f'{size}/found_mask']).all()


# With made-up weights: a tower of one block, and a decoder that says yes to about half.


@pytest.fixture(scope='module')
def shallow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, 'create_model', functools.partial(timm.create_model, depth=1))
        yield


@pytest.fixture(scope='module')
def teachers(shallow):
    torch.manual_seed(5)
    base = timm.create_model(BASE, num_classes=0)
    small = timm.create_model(SMALL, num_classes=0)
    decoder = nn.Conv2d(384, 1, 1)
    with torch.no_grad():
        decoder.weight.mul_(20)
        decoder.bias.zero_()
    return base, small, decoder


@pytest.fixture(scope='module')
def tower(recipe):
    import open_clip

    open_clip.add_model_config(CONFIG)
    clip = open_clip.create_model(recipe.NAME)
    clip.load_state_dict(recipe.clip_weights(clip))
    return clip.visual, Heads(recipe.head_weights())


@pytest.fixture(scope='module')
def pixels():
    image = golden('teachers')['171x215/image']
    return torch.from_numpy(image)[None]


@pytest.fixture(scope='module')
def embeddings():
    generator = torch.Generator().manual_seed(1)
    return nn.functional.normalize(torch.randn(6, 512, generator=generator), dim=1)


def model(tower, teachers, row):
    visual, heads = tower
    base, small, decoder = teachers
    preprocess = Preprocess(16, None, {}, torch.device('cpu'), torch.float32)
    return TableModel(
        row,
        preprocess,
        Backbone(visual, row.keys),
        heads,
        DinoAffinity(base),
        FoundObjects(small, decoder),
    )


@pytest.mark.parametrize('background', BACKGROUNDS)
@pytest.mark.parametrize('method', METHODS)
def test_every_method_goes_with_every_background(
    tower, teachers, pixels, embeddings, method, background
):
    plain = model(tower, teachers, TableRow(method))(pixels, embeddings, 2)[0]
    found = model(tower, teachers, TableRow(method, background))(pixels, embeddings, 2)[0]
    whole = TableRow(method).pads  # MaskCLIP drops what is less than a patch
    assert found.shape == ((6, 11, 14) if whole else (6, 10, 13))
    struck = found[2] != plain[2]
    others = [0, 1, 3, 4, 5]
    assert torch.equal(found[others], plain[others])
    assert (found[2][struck] == 1.0).all()
    if background == 'none':
        assert not struck.any()
        return
    cropped = pixels if whole else pixels[:, :160, :208]
    low = objectness(tower, teachers, background, cropped)
    sure = plain.amax(dim=0) >= 0.99
    expected = low if background == 'found' else low & ~sure
    assert torch.equal(struck, expected & (plain[2] != 1.0))
    assert 0 < low.float().mean() < 1


def objectness(tower, teachers, background, pixels):
    """Where there is no object, bool (h, w), each computed on its own."""
    visual, heads = tower
    _, small, decoder = teachers
    image = pixels.permute(0, 3, 1, 2).float() / 255
    height, width = image.shape[2:]
    image = nn.functional.pad(image, (0, -width % 16, 0, -height % 16))
    grid = (image.shape[2] // 16, image.shape[3] // 16)
    if background == 'learned':
        preprocess = Preprocess(16, None, {}, torch.device('cpu'), torch.float32)
        inner = Backbone(visual)(preprocess(pixels)).inner
        return torch.sigmoid(heads.objectness(inner))[0] <= 0.5
    return FoundObjects(small, decoder)(image, grid)[0, 0] <= 0.5


def test_pooling_by_keys_is_the_mean_of_patches_with_like_keys(tower, teachers, pixels, embeddings):
    found = model(tower, teachers, TableRow('clip-keys'))(pixels, embeddings, None)[0]
    visual, _ = tower
    preprocess = Preprocess(16, None, {}, torch.device('cpu'), torch.float32)
    features = Backbone(visual, 'plain')(preprocess(pixels))
    keys = features.keys[0].flatten(1).double().T.numpy()
    dense = features.maskclip[0].flatten(1).double().T.numpy()
    for i in range(0, len(keys), 17):
        cosines = keys @ keys[i] / np.linalg.norm(keys, axis=1) / np.linalg.norm(keys[i])
        weights = np.where(cosines >= 0.2, cosines, 0)
        pooled = (weights[:, None] * dense).sum(axis=0) / weights.sum()
        scores = 100 * embeddings.double().numpy() @ pooled / np.linalg.norm(pooled)
        expected = np.exp(scores - scores.max())
        np.testing.assert_allclose(found.flatten(1)[:, i], expected / expected.sum(), atol=1e-4)


@pytest.mark.parametrize('row', [TableRow('clip-keys'), TableRow('clip-keys', projected_keys=True)])
def test_both_kinds_of_keys_can_be_had(row):
    assert row.keys == ('projected' if row.projected_keys else 'plain')


@pytest.mark.long
def test_the_command_runs_dino_and_found(tmp_path, teachers, miniature_files):
    base, small, decoder = teachers
    torch.save(base.state_dict(), tmp_path / 'base.pth')
    torch.save(small.state_dict(), tmp_path / 'small.pth')
    torch.save(decoder.state_dict(), tmp_path / 'decoder.pt')
    command = [
        *('evaluate', 'voc', '--data', str(DATA), '--limit', '1', '--method', 'dino'),
        *('--dino-base', str(tmp_path / 'base.pth'), '--dino-small', str(tmp_path / 'small.pth')),
        *('--found', str(tmp_path / 'decoder.pt'), *miniature_files),
    ]
    sums = []
    for background in ('none', 'found', 'found-uncertain'):
        out = tmp_path / background
        assert main([*command, '--background', background, '--out', str(out)]) == 0
        result = json.loads((out / 'result.json').read_text())
        assert (result['method'], result['background']) == ('dino', background)
        digests = {'clip', 'heads', 'dino_base'}
        digests |= {'dino_small', 'found'} if background != 'none' else set()
        assert result['weights'].keys() == digests
        sums.append(tuple(result['predicted']))
    assert len(set(sums)) >= 2  # the filter changes something
    assert sums[1][0] >= sums[2][0] >= sums[0][0]  # and makes background, the more the less it asks
