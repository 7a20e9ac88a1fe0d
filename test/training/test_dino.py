# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dino teacher against a slow computation of its own, with random weights."""

import functools

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from clip_dinoiser_ros.training.batches import Batch
from clip_dinoiser_ros.training.dino import (
    BASE,
    SMALL,
    DinoTeacher,
    DinoTower,
    load_dino,
    load_found,
)
from clip_dinoiser_ros.training.precision import autocast
from clip_dinoiser_ros.training.teachers import TeacherError

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def random_model(name, seed, **shape):
    """The real architecture, its weights large enough that patches differ."""
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=0, **shape).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if 'norm' not in key:
                value.copy_(torch.randn_like(value) * (2.0 if value.ndim == 3 else 0.05))
    return model


@pytest.fixture(scope='module')
def base():
    return random_model(BASE, 0, depth=3)


@pytest.fixture(scope='module')
def small():
    return random_model(SMALL, 1, depth=3)


@pytest.fixture(scope='module')
def decoder():
    torch.manual_seed(2)
    return nn.Conv2d(384, 1, 1)


@pytest.fixture(scope='module')
def teacher(base, small, decoder):
    return DinoTeacher(base, small, decoder)


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(3)
    coarse = torch.rand(2, 3, 4, 6)
    return F.interpolate(coarse, (64, 96), mode='bilinear') * 0.8 + 0.2 * torch.rand(2, 3, 64, 96)


def hooked_qkv(model, images):
    """qkv of the last block by a hook on timm's own forward, CLS dropped, as a list per image."""
    caught = []
    hook = model.blocks[-1].attn.qkv.register_forward_hook(lambda *a: caught.append(a[2]))
    p = model.patch_embed.patch_size[0]
    h, w = images.shape[2] // p, images.shape[3] // p
    g = model.patch_embed.grid_size[0]
    trained, strict = model.pos_embed, model.patch_embed.strict_img_size
    grid = trained[0, 1:].reshape(g, g, -1).permute(2, 0, 1)[None]
    # the lines of DINO's interpolate_pos_encoding
    moved = F.interpolate(grid, scale_factor=((h + 0.1) / g, (w + 0.1) / g), mode='bicubic')
    assert moved.shape[2:] == (h, w)
    moved = moved.permute(0, 2, 3, 1).reshape(1, h * w, -1)
    try:
        model.pos_embed = nn.Parameter(torch.cat([trained[:, :1], moved], 1))
        model.patch_embed.strict_img_size = False
        with torch.no_grad():
            model.forward_features((images - MEAN) / STD)
    finally:
        model.pos_embed, model.patch_embed.strict_img_size = trained, strict
        hook.remove()
    b, n, width = caught[0].shape
    heads = model.blocks[-1].attn.num_heads
    qkv = caught[0].reshape(b, n, 3, heads, width // heads // 3).permute(2, 0, 3, 1, 4)
    # (3, B, heads, N, d) -> per image (N, heads * d), CLS dropped
    return [[part[i, :, 1:].transpose(0, 1).reshape(n - 1, -1) for i in range(b)] for part in qkv]


def test_affinity_is_the_correlation_of_values_of_at_least_gamma(base, small, decoder, images):
    values = [v.double().numpy() for v in hooked_qkv(base, images)[2]]
    expected = np.array(
        [
            [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in image] for a in image]
            for image in values
        ]
    )
    gamma = float(np.median(expected))  # random towers correlate more than trained ones
    affinity = DinoTeacher(base, small, decoder, gamma)(Batch(images), (4, 6)).affinity
    assert affinity.shape == expected.shape == (2, 24, 24)
    sure = np.abs(expected - gamma) > 1e-4  # rounding may decide the others
    assert sure.mean() > 0.98
    np.testing.assert_array_equal(affinity.numpy()[sure], (expected >= gamma)[sure])


def test_foreground_is_found_on_unnormalised_keys(teacher, small, decoder, images):
    foreground = teacher(Batch(images), (4, 6)).foreground
    assert foreground.shape == (2, 1, 4, 6)
    keys = hooked_qkv(small, images)[1]
    weight, bias = decoder.weight.detach()[0, :, 0, 0].double(), decoder.bias.detach().double()
    seen = []
    for index in range(2):
        fine = torch.sigmoid(keys[index].double() @ weight + bias).reshape(8, 12).numpy()
        expected = fine.reshape(4, 2, 6, 2).mean(axis=(1, 3))
        sure = np.abs(expected - 0.5) > 1e-4
        seen.append(expected > 0.5)
        np.testing.assert_array_equal(foreground[index, 0].numpy()[sure], seen[-1][sure])
    assert 0 < np.mean(seen) < 1


def test_the_tower_gives_queries_keys_and_values_without_cls(base, images):
    with torch.no_grad():
        got = DinoTower(base)((images - MEAN) / STD)
    for part, expected in zip(got, hooked_qkv(base, images), strict=True):
        assert part.shape == (2, 24, 768)
        for index in range(2):
            torch.testing.assert_close(part[index], expected[index], atol=2e-4, rtol=1e-4)


def test_the_threshold_is_the_papers(base, small, decoder):
    assert DinoTeacher(base, small, decoder).about['gamma'] == 0.2


@pytest.mark.parametrize('gamma', [-0.1, 1.0, float('nan')])
def test_a_threshold_that_is_none_is_refused(base, small, decoder, gamma):
    with pytest.raises(TeacherError, match='must be at least 0 and below 1'):
        DinoTeacher(base, small, decoder, gamma)


def test_the_trained_grid_keeps_its_positions(base):
    assert DinoTower(base)._positions(14, 14) is base.pos_embed


def test_grid_follows_the_patch_size_of_clip(teacher, images):
    """CLIP with patches of 32: DINO sees the image at the size that gives as many patches."""
    targets = teacher(Batch(images), (2, 3))
    assert targets.affinity.shape == (2, 6, 6)
    assert targets.foreground.shape == (2, 1, 2, 3)


def test_half_precision_hardly_changes_the_towers(base, images):
    with torch.no_grad(), autocast(images.device, 'bf16'):
        half = DinoTower(base)((images - MEAN) / STD)[2]
    assert half.dtype == torch.bfloat16
    exact = torch.stack(hooked_qkv(base, images)[2])
    cosines = F.cosine_similarity(half.float(), exact, dim=-1)
    assert cosines.min() > 0.999


@pytest.fixture
def shallow(monkeypatch):
    """timm makes towers of one block: what is read from files is the same, only less of it."""
    monkeypatch.setattr(timm, 'create_model', functools.partial(timm.create_model, depth=1))


def test_the_record_names_the_weights_by_their_content(tmp_path, shallow, base, decoder):
    small = timm.create_model(SMALL, num_classes=0)
    from safetensors.torch import save_file

    torch.save(small.state_dict(), tmp_path / 'dino.pth')
    save_file(small.state_dict(), tmp_path / 'dino.safetensors')
    first = load_dino(SMALL, tmp_path / 'dino.pth')
    second = load_dino(SMALL, tmp_path / 'dino.safetensors')
    names = [
        DinoTeacher(base, m, decoder).about['weights']['small'] for m in (small, first, second)
    ]
    assert len(set(names)) == 1
    assert DinoTeacher(base, small, decoder).about['weights']['base'] not in names


@pytest.mark.parametrize('layout', ['flat', 'nested', 'prefixed'])
def test_the_decoder_is_read_in_any_layout(tmp_path, decoder, layout):
    flat = decoder.state_dict()
    content = {
        'flat': flat,
        'nested': {'decoder': flat},
        'prefixed': {f'decoder.{name}': value for name, value in flat.items()},
    }[layout]
    torch.save(content, tmp_path / 'decoder.pt')
    read = load_found(tmp_path / 'decoder.pt')
    assert torch.equal(read.weight, decoder.weight)
    assert torch.equal(read.bias, decoder.bias)


class Evil:
    def __reduce__(self):
        return (print, ('run',))


@pytest.mark.parametrize(
    'content', [{'weight': torch.zeros(1, 384, 1, 1)}, {'decoder': 3}, {'evil': Evil()}, 'text']
)
def test_another_file_than_the_decoder_is_refused(tmp_path, content, capsys):
    torch.save(content, tmp_path / 'decoder.pt')
    with pytest.raises(TeacherError, match=r"decoder\.pt' cannot be read as FOUND's decoder"):
        load_found(tmp_path / 'decoder.pt')
    assert capsys.readouterr().out == ''


def test_other_weights_than_dinos_are_refused(tmp_path, shallow, decoder):
    torch.save(decoder.state_dict(), tmp_path / 'dino.pth')
    with pytest.raises(TeacherError, match=rf"dino\.pth' cannot be read as {SMALL}"):
        load_dino(SMALL, tmp_path / 'dino.pth')
    with pytest.raises(TeacherError, match='no such file'):
        load_dino(SMALL, tmp_path / 'missing.pth')


def test_timm_has_weights_of_these_names():
    assert {BASE, SMALL} <= set(timm.list_pretrained())


def test_a_failed_download_says_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise OSError('no route to host')

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(TeacherError, match=r'no route to host.*give the file'):
        load_dino(BASE)
