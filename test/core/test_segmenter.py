# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import copy
import subprocess
import sys

import cv2
import fake_cuda
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import DEVICES, needs_gpu
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import graphs, memory, segmentation
from clip_dinoiser_ros.core import segmenter as module
from clip_dinoiser_ros.core.preprocess import CLIP_MEAN, CLIP_STD
from clip_dinoiser_ros.frames.outputs import encode_confidence


@pytest.fixture(scope='module')
def image():
    return golden('image_170x215_plain')['image']


@pytest.fixture(scope='module')
def vocabulary(golden_segmenter, golden_prompts):
    return golden_segmenter.encode(golden_prompts)


def make(golden_clip, golden_heads, **kwargs):
    clip, tokenizer = golden_clip
    return Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, **kwargs)


def test_result(golden_segmenter, vocabulary, image):
    result = golden_segmenter.segment(image, vocabulary)
    assert result.vocabulary is vocabulary
    assert result.labels.dtype == np.uint8
    assert result.labels.shape == result.confidence.shape == image.shape[:2]
    assert result.confidence.dtype == np.float32
    assert result.confidence.min() >= 0
    assert result.confidence.max() <= 1
    assert len(np.unique(result.labels)) > 1


def test_a_batch_equals_its_images(golden_segmenter, vocabulary, image):
    batch = [image, image[::-1].copy(), np.ascontiguousarray(image[:, ::-1])]
    results = golden_segmenter.segment(batch, vocabulary)
    assert len(results) == 3
    for one, result in zip(batch, results, strict=True):
        single = golden_segmenter.segment(one, vocabulary)
        np.testing.assert_array_equal(result.labels, single.labels)
        np.testing.assert_allclose(result.confidence, single.confidence, atol=1e-5)
    assert golden_segmenter.segment([], vocabulary) == []


def test_the_order_of_the_prompts_does_not_matter(golden_segmenter, golden_prompts, image):
    """The background filter strikes the class it names, wherever that stands."""
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = golden_segmenter.encode([golden_prompts[i] for i in order])
    assert shuffled.background == 1
    one = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts))
    other = golden_segmenter.segment(image, shuffled)
    np.testing.assert_array_equal(np.array(order)[other.labels], one.labels)
    np.testing.assert_allclose(other.confidence, one.confidence, atol=1e-5)


def test_confidence_where_the_filter_applies_is_the_lack_of_objectness(
    golden_segmenter, golden_prompts
):
    expected = golden('image_224x224_plain')
    vocabulary = golden_segmenter.encode(golden_prompts)
    probabilities = golden_segmenter.patch_probabilities(expected['image'], vocabulary)
    filtered = probabilities[0] == 1.0
    assert 0.2 < filtered.mean() < 0.9
    result = golden_segmenter.segment(expected['image'], vocabulary)
    # in the middle of 3x3 filtered patches nothing else is interpolated in
    inside = F.max_pool2d(torch.from_numpy(~filtered).float()[None, None], 3, 1, 1)[0, 0] == 0
    rows, columns = np.nonzero(inside.numpy())
    assert len(rows) > 0
    logit = torch.from_numpy(expected['objectness_logit'])[None, None]
    full = F.interpolate(1 - logit.sigmoid(), scale_factor=16, mode='bilinear')[0, 0].numpy()
    for row, column in zip(rows, columns, strict=True):
        y, x = 16 * row + 8, 16 * column + 8
        assert result.labels[y, x] == 0
        assert 0.5 <= result.confidence[y, x] < 1
        np.testing.assert_allclose(result.confidence[y, x], full[y, x], atol=1e-5)


def test_delta_and_gamma_are_used(golden_segmenter, vocabulary, image):
    def probabilities(**kwargs):
        return golden_segmenter.patch_probabilities(image, vocabulary, **kwargs)

    assert (probabilities(delta=0.0)[0] < 1).all()  # nothing is that uncertain
    assert (probabilities()[0] == 1).any()
    assert not np.allclose(probabilities(gamma=0.8), probabilities(), atol=1e-3)
    for wrong in ({'gamma': 1.0}, {'gamma': float('nan')}, {'delta': -0.1}):
        with pytest.raises(ValueError, match='must be between'):
            probabilities(**wrong)


def test_short_side_resizes_without_a_border(golden_clip, golden_heads, golden_segmenter, image):
    """170x215 at short side 96: 96x121.4, so 96x128 by rounding to patches."""
    small = make(golden_clip, golden_heads, short_side=96)
    vocabulary = golden_segmenter.encode(['grass', 'red ball', 'wooden table'], background=None)
    assert small.grid(170, 215) == (6, 8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(x, size=(96, 128), mode='bilinear', antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    preprocess = small.pipeline.preprocess
    batch = preprocess(preprocess.upload([image]))
    torch.testing.assert_close(batch, (resized - mean) / std)
    assert preprocess.extent(170, 215) == (6.0, 8.0)
    probabilities = small.patch_probabilities(image, vocabulary)
    assert probabilities.shape == (3, 6, 8)
    full = F.interpolate(torch.from_numpy(probabilities)[None], size=(170, 215), mode='bilinear')[0]
    result = small.segment(image, vocabulary)
    np.testing.assert_allclose(result.confidence, full.max(dim=0).values.numpy(), atol=1e-5)
    assert (result.labels == full.argmax(dim=0).numpy()).mean() > 0.999


@pytest.mark.parametrize(
    ('size', 'grid'),
    [
        ((480, 640), (28, 37)),
        ((640, 480), (37, 28)),
        ((1080, 1920), (28, 50)),
        ((448, 448), (28, 28)),
        ((16, 16), (28, 28)),
    ],
)
def test_grid_of_common_cameras(golden_clip, golden_heads, size, grid):
    assert make(golden_clip, golden_heads, short_side=448).grid(*size) == grid


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        (np.zeros((64, 64, 3), np.float32), 'uint8, got float32'),
        (np.zeros((64, 64), np.uint8), r'\(H, W, 3\), got \(64, 64\)'),
        (np.zeros((64, 64, 4), np.uint8), r'got \(64, 64, 4\)'),
        (np.zeros((15, 64, 3), np.uint8), '64x15.*at least 16x16'),
        (np.zeros((0, 64, 3), np.uint8), '64x0'),
        (np.broadcast_to(np.zeros(1, np.uint8), (8193, 8193, 3)), '8193x8193.*67108864'),
        (np.broadcast_to(np.zeros(1, np.uint8), (4096, 4096, 3)), '65536 patches.*16384'),
    ],
)
def test_wrong_images(golden_segmenter, vocabulary, wrong, reason):
    with pytest.raises(ValueError, match=reason):
        golden_segmenter.segment(wrong, vocabulary)


def test_images_of_several_sizes_are_no_batch(golden_segmenter, vocabulary, image):
    with pytest.raises(ValueError, match='one size, got 215x170, 215x64'):
        golden_segmenter.segment([image, image[:64]], vocabulary)


def test_more_classes_than_a_byte_holds(golden_segmenter, image):
    for count, dtype in [(254, np.uint8), (255, np.uint16), (1000, np.uint16)]:
        names = [f'class {i}' for i in range(count)]
        vocabulary = golden_segmenter.encode(names, templates='none')
        result = golden_segmenter.segment(image, vocabulary)
        assert result.labels.dtype == dtype
        assert result.labels.max() < count
        expected = golden_segmenter.patch_probabilities(image, vocabulary).max(axis=(1, 2)).argmax()
        assert (result.labels == expected).any()


def test_lower_precision_agrees_where_the_answer_is_clear(golden_clip, golden_heads, image):
    segmenter = make(golden_clip, golden_heads, precision='bf16')
    exact = make(golden_clip, golden_heads)
    vocabulary = exact.encode(['grass', 'wooden table', 'red ball'], background=None)
    difference = np.abs(
        segmenter.patch_probabilities(image, vocabulary)
        - exact.patch_probabilities(image, vocabulary)
    )
    assert 0 < difference.max() < 0.2
    assert segmenter.precision == 'bf16'


@pytest.mark.parametrize(('precision', 'dtype'), [('fp32', torch.float32), ('bf16', torch.float16)])
def test_the_text_tower_is_float16_unless_fp32_is_asked_for(
    golden_clip, golden_heads, precision, dtype
):
    clip, tokenizer = copy.deepcopy(golden_clip[0]), golden_clip[1]
    Segmenter(clip, golden_heads, tokenizer, precision=precision)
    assert clip.token_embedding.weight.dtype == dtype
    assert clip.text_projection.dtype == dtype


def test_device_and_precision(golden_clip, golden_heads, monkeypatch):
    for device in ('gpu', 'meta', 'cuda:99'):
        with pytest.raises(ValueError, match=f"device '{device}'"):
            make(golden_clip, golden_heads, device=device)
    with pytest.raises(
        ValueError, match="precision is 'int4'; allowed: auto, fp32, bf16, fp16, int8"
    ):
        make(golden_clip, golden_heads, precision='int4')
    with pytest.raises(ValueError, match='short_side is 8; must be at least 16'):
        make(golden_clip, golden_heads, short_side=8)
    cpu = torch.device('cpu')
    for has_bf16, expected in [(True, 'bf16'), (False, 'fp32')]:
        monkeypatch.setattr(module.engines, 'cpu_has_bf16', lambda answer=has_bf16: answer)
        assert module.find_precision('auto', cpu) == expected
    capabilities = [((9, 0), 'bf16'), ((8, 7), 'bf16'), ((7, 2), 'fp16'), ((6, 1), 'fp32')]
    for capability, expected in capabilities:
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _, c=capability: c)
        assert module.find_precision('auto', torch.device('cuda', 0)) == expected


@pytest.mark.parametrize('device', DEVICES)
def test_images_far_larger_than_the_model_sees(golden_clip, golden_heads, device):
    """In two steps: torch's own fails on a GPU, see `preprocess.MOST_AT_ONCE`."""
    segmenter = make(golden_clip, golden_heads, device=device, short_side=16)
    small = np.random.default_rng(0).integers(0, 256, (4, 7, 3), dtype=np.uint8)
    image = cv2.resize(small, (2800, 1600), interpolation=cv2.INTER_CUBIC)  # 100 times larger
    preprocess = segmenter.pipeline.preprocess
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = F.interpolate(x, size=(16, 32), mode='bilinear', antialias=True)
    mean, std = (255 * torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    found = preprocess(preprocess.upload([image])).cpu() * std + mean
    assert (found - expected).abs().mean() < 1.0
    assert (found - expected).abs().max() < 6.0


def test_a_gpu_has_its_index(monkeypatch):
    """Which device is the current one may differ from thread to thread."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 1)
    found = {name: module.find_device(name).index for name in ('auto', 'cuda', 'cuda:0', 'cuda:1')}
    assert found == {'auto': 1, 'cuda': 1, 'cuda:0': 0, 'cuda:1': 1}
    with pytest.raises(ValueError, match='torch sees 2 CUDA devices'):
        module.find_device('cuda:2')


def test_importing_the_package_loads_nothing_of_ros():
    code = (
        'import sys, clip_dinoiser_ros, clip_dinoiser_ros.core, clip_dinoiser_ros.frames.images\n'
        "names = ('rclpy', 'cv_bridge', 'sensor_msgs', 'std_msgs', 'rcl_interfaces')\n"
        "ros = [m for m in sys.modules if m.split('.')[0] in names or '.msg' in m]\n"
        'assert not ros, ros'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@needs_gpu
@pytest.mark.parametrize('size', ['160x208', '320x448'])
def test_gpu_equals_the_golden_files(golden_clip, golden_heads, golden_prompts, size):
    expected = golden(f'image_{size}_plain')
    segmenter = make(golden_clip, golden_heads, device='cuda', precision='fp32')
    vocabulary = segmenter.encode(golden_prompts, background=None)
    probabilities = segmenter.patch_probabilities(expected['image'], vocabulary)
    np.testing.assert_allclose(probabilities, expected['probs'], atol=1e-4)
    labels = segmenter.segment(expected['image'], vocabulary).labels
    assert (labels == expected['labels']).mean() >= 0.999


@pytest.mark.parametrize('background', ['background', None])
def test_class_confidences(golden_segmenter, golden_prompts, image, background):
    """They sum to 1, and that of the label is the confidence map, but beside filtered patches."""
    vocabulary = golden_segmenter.encode(golden_prompts, background)
    [patches] = golden_segmenter.segment_patches([image], vocabulary)
    size = image.shape[:2]
    result = patches.enlarge(size)
    maps = patches.class_confidences(size)
    assert maps.dtype == np.float32
    assert maps.shape == (len(vocabulary), *size)
    np.testing.assert_allclose(maps.sum(axis=0), 1.0, atol=1e-5)
    own = np.take_along_axis(maps, result.labels[None].astype(np.int64), axis=0)[0]
    if background is None:
        np.testing.assert_allclose(own, result.confidence, atol=1e-6)
        np.testing.assert_array_equal(maps.argmax(axis=0), result.labels)
    else:
        filtered = patches.probabilities[0] == 1.0
        assert filtered.any()
        where = result.labels == 0
        np.testing.assert_allclose(own[where], result.confidence[where], atol=1e-6)
        # what the filter took away from the others is no more than it gave
        assert (own <= result.confidence + 1e-5).all()
    some = patches.class_confidences(size, [4, 1])
    np.testing.assert_array_equal(some, maps[[4, 1]])


def test_patches_enlarge_to_any_size(golden_segmenter, vocabulary, image):
    [patches] = golden_segmenter.segment_patches([image], vocabulary)
    half = patches.enlarge((85, 107))
    assert half.labels.shape == half.confidence.shape == (85, 107)
    full = patches.enlarge((170, 214)).labels[::2, ::2]
    assert (half.labels == full).mean() > 0.95


@pytest.mark.parametrize('device', DEVICES)
def test_images_enlarged_together_are_as_alone(
    golden_clip, golden_heads, vocabulary, image, device
):
    segmenter = make(golden_clip, golden_heads, device=device)
    found = segmenter.segment_patches([image, image[::-1], image[:, ::-1]] * 2, vocabulary)
    size = (1080, 1440)  # many copies at once would come too early if nobody waited for them
    together = segmentation.enlarge_all(found, size, mono8=True)
    assert not np.array_equal(together[0].labels, together[1].labels)
    for one, result in zip(found, together, strict=True):
        alone = one.enlarge(size, mono8=True)
        np.testing.assert_array_equal(result.labels, alone.labels)
        np.testing.assert_array_equal(result.mono8, alone.mono8)
        np.testing.assert_array_equal(result.confidence, alone.confidence)


@pytest.mark.parametrize('device', DEVICES)
def test_confidence_leaves_the_device_in_the_form_that_is_asked_for(
    golden_clip, golden_heads, golden_prompts, image, device, monkeypatch
):
    segmenter = make(golden_clip, golden_heads, device=device)
    many = [*golden_prompts, *(f'thing {i}' for i in range(250))]
    moved, bring = [], segmentation.Download
    monkeypatch.setattr(
        segmentation, 'Download', lambda *t: moved.append([x.dtype for x in t]) or bring(*t)
    )
    for prompts, dtype in ((golden_prompts, torch.uint8), (many, torch.int16)):
        vocabulary = segmenter.encode(prompts, templates='none')
        [patches] = segmenter.segment_patches([image], vocabulary)
        plain = patches.enlarge(image.shape[:2])
        moved.clear()
        rounded = patches.enlarge(image.shape[:2], mono8=True)
        assert moved == [[dtype, torch.uint8]]
        np.testing.assert_array_equal(rounded.labels, plain.labels)
        np.testing.assert_array_equal(rounded.mono8, encode_confidence(plain.confidence, 'mono8'))
        assert plain.mono8 is None
        for _ in range(2):  # brought when it is read, once
            np.testing.assert_array_equal(rounded.confidence, plain.confidence)
        assert moved[1:] == [[torch.float32]]


@pytest.fixture
def on_a_gpu(monkeypatch, golden_clip, golden_heads):
    """A segmenter that takes the way of a GPU; `torch.cuda` is a stand-in."""
    cuda = fake_cuda.install(monkeypatch, graphs, memory)
    segmenter = make(golden_clip, golden_heads, short_side=48, pack=False)
    segmenter._run = graphs.GraphRunner(segmenter.pipeline, torch.device('cuda', 0))
    return segmenter, cuda


def test_a_warm_gpu_has_nothing_left_to_capture(on_a_gpu):
    """Neither for new words, nor for thresholds, nor for usual cameras: counted."""
    segmenter, cuda = on_a_gpu
    vocabulary = segmenter.encode(['grass', 'red ball'], templates='none')
    segmenter.warm_up(vocabulary, gamma=0.3)
    assert len(cuda.captures) == 2
    for size in ((480, 640), (720, 1280), (1080, 1920), (960, 1280), (2160, 3840), (240, 320)):
        segmenter.segment(np.zeros((*size, 3), np.uint8), vocabulary)
    for change in range(20):
        words = [f'thing {change} {i}' for i in range(1 + change)]
        words = segmenter.encode(words, words[0] if change % 2 else None, 'none')
        segmenter.segment(np.zeros((480, 640, 3), np.uint8), words, change / 25, change / 20)
    assert len(cuda.captures) == 2
    assert cuda.stalls == cuda.emptied == 0


def test_a_cpu_needs_no_warming_up(golden_clip, golden_heads, vocabulary, monkeypatch):
    segmenter = make(golden_clip, golden_heads)
    monkeypatch.setattr(segmenter, 'segment_patches', None)
    segmenter.warm_up(vocabulary)


def test_freeing_memory_drops_the_graphs(on_a_gpu):
    segmenter, cuda = on_a_gpu
    segmenter.warm_up(segmenter.encode(['grass', 'red ball'], templates='none'))
    assert len(segmenter._run._graphs) == 2
    segmenter.free_memory()
    assert (len(segmenter._run._graphs), cuda.emptied) == (0, 1)


@needs_gpu
def test_a_warm_gpu_has_nothing_left_to_capture_in_truth(golden_clip, golden_heads, monkeypatch):
    segmenter = make(golden_clip, golden_heads, device='cuda', short_side=96)
    vocabulary = segmenter.encode(['grass', 'red ball'], templates='none')
    segmenter.warm_up(vocabulary)
    assert len(segmenter._run._graphs) == 2
    monkeypatch.setattr(graphs, '_Graph', None)  # a capture would fail from now on
    for size in ((480, 640), (1080, 1920)):
        result = segmenter.segment(np.zeros((*size, 3), np.uint8), vocabulary)
        assert result.labels.shape == size
