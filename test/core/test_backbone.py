# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import open_clip
import pytest
import torch
import torch.nn.functional as F

from clip_dinoiser_ros.core import backbone as module
from clip_dinoiser_ros.core.backbone import Backbone


def make_clip(custom_text=False, **vision):
    config = {
        'embed_dim': 32,
        'vision_cfg': {'image_size': 64, 'layers': 4, 'width': 64, 'patch_size': 16, **vision},
        'text_cfg': {'width': 32, 'heads': 2, 'layers': 2},
    }
    model = open_clip.model.CustomTextCLIP if custom_text else open_clip.model.CLIP
    torch.manual_seed(0)
    return model(**config).eval()


def test_inner_features_are_those_of_the_model_itself():
    """Against OpenCLIP's own forward, read by a hook: the one place where a hook is fine."""
    clip = make_clip(ls_init_value=0.5)
    image = torch.randn(2, 3, 64, 64)
    seen = []
    clip.visual.transformer.resblocks[-3].ln_2.register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    with torch.inference_mode():
        clip.visual(image)
        features = Backbone(clip.visual)(image)
    expected = seen[0][:, 1:].transpose(1, 2).reshape(2, 64, 4, 4)
    torch.testing.assert_close(features.inner, expected, atol=1e-5, rtol=1e-5)


def test_model_is_unchanged_and_last_attention_not_computed(monkeypatch):
    clip = make_clip()
    before = {key: value.clone() for key, value in clip.state_dict().items()}
    attention = F.scaled_dot_product_attention
    calls = []

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return attention(*args, **kwargs)

    monkeypatch.setattr(module.F, 'scaled_dot_product_attention', counted)
    with torch.inference_mode():
        Backbone(clip.visual)(torch.randn(1, 3, 96, 160))
    assert len(calls) == 3  # of 4 blocks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in clip.modules())
    after = clip.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_positions_are_resized_once_per_grid(monkeypatch):
    backbone = Backbone(make_clip().visual)
    calls = []
    resize = module.resize_positions
    monkeypatch.setattr(
        module, 'resize_positions', lambda *args: calls.append(args[2]) or resize(*args)
    )
    for grid in [(4, 4), (4, 6), (4, 6), (6, 4), (4, 6)]:
        assert backbone.positions(*grid).shape == (1 + grid[0] * grid[1], 64)
    assert calls == [(4, 6), (6, 4)]
    for h in range(1, 3 * module.MAX_CACHED_GRIDS):
        backbone.positions(h, 7)
    assert len(backbone._positions) <= module.MAX_CACHED_GRIDS


def test_attention_head_by_head_is_attention():
    q, k, v = torch.randn(3, 2, 4, 37, 16).unbind()
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(module._attend_head_by_head(q, k, v), expected)


@pytest.mark.parametrize(
    ('vision', 'reason'),
    [
        ({'layers': 2}, 'at least 3 blocks'),
        ({'pool_type': 'avg'}, 'pools by avg'),
        ({'attentional_pool': True}, 'attention'),
        ({'layers': (1, 1, 1, 1), 'width': 32, 'image_size': 64}, 'ModifiedResNet'),
    ],
)
def test_other_towers_are_refused(vision, reason):
    with pytest.raises(ValueError, match=reason):
        Backbone(make_clip(**vision).visual)
