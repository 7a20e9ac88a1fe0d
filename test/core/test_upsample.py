import pytest
import torch
import torch.nn.functional as F

from clip_dinoiser_ros.core import upsample
from clip_dinoiser_ros.core.upsample import enlarge


def probabilities(classes, h, w, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(classes, h, w, generator=generator)).softmax(dim=0)


def reference(maps, size, padded):
    """Interpolate everything, then choose: what `enlarge` must equal."""
    target = (maps.shape[1] * 16, maps.shape[2] * 16) if padded else size
    full = F.interpolate(maps[None], size=target, mode='bilinear', align_corners=False)[0]
    return full[:, : size[0], : size[1]]


@pytest.mark.parametrize('padded', [True, False])
@pytest.mark.parametrize(
    ('classes', 'h', 'w', 'size'),
    [
        (7, 11, 14, (170, 215)),
        (2, 4, 9, (50, 131)),
        (1, 1, 1, (16, 16)),
        (300, 5, 6, (80, 96)),
        (20, 28, 37, (448, 592)),
    ],
)
def test_equals_interpolation_followed_by_max(monkeypatch, padded, classes, h, w, size):
    monkeypatch.setattr(upsample, 'TILE_ELEMENTS', 1 << 14)  # many strips
    maps = probabilities(classes, h, w)
    extent = (size[0] / 16, size[1] / 16) if padded else (float(h), float(w))
    labels, confidence = enlarge(maps, size, extent)
    full = reference(maps, size, padded)
    best, expected = full.max(dim=0)
    torch.testing.assert_close(confidence, best, atol=5e-6, rtol=0)
    second = full.topk(2, dim=0).values[1] if classes > 1 else torch.zeros(size)
    clear = best - second > 5e-6  # elsewhere rounding may decide
    assert clear.float().mean() > 0.99
    assert torch.equal(labels.long()[clear], expected[clear])
    assert labels.dtype == (torch.uint8 if classes <= 256 else torch.int32)


def test_background_confidence_is_reported_only_where_background_wins():
    maps = probabilities(3, 6, 6)
    own = torch.full((6, 6), 0.25)
    plain_labels, plain = enlarge(maps, (96, 96), (6.0, 6.0))
    labels, confidence = enlarge(maps, (96, 96), (6.0, 6.0), background=(1, own))
    assert torch.equal(labels, plain_labels)
    wins = labels == 1
    assert wins.any()
    assert torch.allclose(confidence[wins], torch.tensor(0.25))
    assert torch.equal(confidence[~wins], plain[~wins])


def test_never_all_classes_of_all_pixels_at_once(monkeypatch):
    largest = 0
    interpolate = F.interpolate

    def watched(*args, **kwargs):
        nonlocal largest
        result = interpolate(*args, **kwargs)
        largest = max(largest, result.numel())
        return result

    monkeypatch.setattr(upsample.F, 'interpolate', watched)
    enlarge(probabilities(150, 28, 50), (1080, 1920), (28.0, 50.0))
    assert 0 < largest <= upsample.TILE_ELEMENTS < 150 * 1080 * 1920 / 50
