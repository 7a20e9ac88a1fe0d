# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and ~/encode_text together: what a map of them finds is what the node found.

They come over DDS or from a recording; the texts always come from the service of the node.
"""

from __future__ import annotations

import re
import sys
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clip_dinoiser_ros.msg import DenseFeatures
from clip_dinoiser_ros.srv import EncodeText
from feature_maps import encode, probabilities
from golden_data import golden
from harness import Peer, numbered_frame
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from clip_dinoiser_ros import arguments, cli
from clip_dinoiser_ros.frames import images

MAPS = Path(__file__).parents[2] / 'docs/maps.md'
# the second does not end with a whole patch
IMAGES = ('image_160x208_background', 'image_170x215_background')


def check(message, image, texts, segmenter, prompts):
    """Hold a message against the probabilities of the patches, to 1e-3."""
    words, digest = texts
    assert message.model_digest == digest == segmenter.text_digest
    assert (message.image_height, message.image_width) == image.shape[:2]
    vocabulary = segmenter.encode(prompts)
    expected = segmenter.patch_probabilities(image, vocabulary)
    found = probabilities(message, words, vocabulary.background)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3)
    p = segmenter.patch_size
    assert (message.cell_height, message.cell_width) == (p, p)  # short_side is 0
    assert (message.height - 1) * p < image.shape[0] <= message.height * p


@pytest.fixture(scope='module')
def listening(node):
    with Peer() as peer:
        peer.listen()
        peer.hear('features', DenseFeatures)
        yield peer


@pytest.mark.parametrize('name', IMAGES)
def test_over_dds(listening, name, golden_segmenter, golden_prompts):
    image = golden(name)['image']
    message, labels = listening.send_until(
        image, 1000 * (1 + IMAGES.index(name)), 'features', 'labels'
    )
    assert message.header == labels.header
    texts = encode(listening, golden_prompts)
    check(message, image, texts, golden_segmenter, golden_prompts)


def test_from_a_recording(
    listening, monkeypatch, tmp_path, golden_files, golden_segmenter, golden_prompts
):
    pytest.importorskip('rosbags', reason='recordings need rosbags')
    sys.path.insert(0, str(Path(__file__).parents[1] / 'bag'))
    import bags

    sent = {10 + number: golden(name)['image'] for number, name in enumerate(IMAGES)}
    source = bags.write(
        tmp_path / 'sent',
        [
            (
                '/camera/image_raw',
                (1000 + index) * 10**9,
                ('sensor_msgs/msg/Image', serialize_message(numbered_frame(image, index))),
            )
            for index, image in sent.items()
        ],
    )
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: golden_segmenter)
    out = tmp_path / 'out'
    options = ('--outputs', 'features', '--batch', '1', '--model', golden_files['model'])
    assert cli.main(['bag', str(source), str(out), '--prompts', *golden_prompts, *options]) == 0
    texts = encode(listening, golden_prompts)
    made = {m.header.stamp.sec: m for topic, _, m in bags.read(out) if topic.endswith('/features')}
    assert made.keys() == sent.keys()
    for index, image in sent.items():
        check(made[index], image, texts, golden_segmenter, golden_prompts)


def test_the_map_of_the_documentation(listening, image, golden_segmenter, golden_prompts):
    """Run its code: the voxels of a class are those of the patches that show it."""
    (code,) = re.findall('```python\n(total = .*?)```', MAPS.read_text(), re.DOTALL)
    service = SimpleNamespace(call=lambda asked: listening.call(EncodeText, 'encode_text', asked))
    names = {'np': np, 'encode_text': service, 'EncodeText': EncodeText}
    exec(code, names)
    message = listening.send_until(image, 9000, 'features')[0]
    height, width = image.shape[:2]
    metres = np.full((height, width), 40.0, np.float32)  # so far that each cell has its voxel
    metres[:, :20] = np.nan
    focal = 97.0
    info = CameraInfo(k=[focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0])
    depth = images.to_message(metres, '32FC1', message.header, Image)
    names['on_features_and_depth'](message, info, depth)
    prompts = golden_prompts[:4]
    found = golden_segmenter.patch_probabilities(image, golden_segmenter.encode(prompts, None))
    mixed = 0
    for one, other in permutations(range(len(prompts)), 2):
        voxels = {v[:2] for v in names['where_is']([prompts[one], prompts[other]])}
        margin = np.log(found[one] / found[other])  # of the scores
        wins, loses = (voxels_of(sign * margin > 0.05, image, focal) for sign in (1, -1))
        assert wins <= voxels
        assert not loses & voxels
        mixed += bool(wins) and bool(loses)
    assert mixed


def voxels_of(cells, image, focal):
    """Return x and y of the voxels of cells (h, w) that have depth."""
    rows, columns = np.nonzero(cells)
    middles = np.stack([columns, rows], axis=1)[columns > 0] * 16 + 8
    centre = np.array([image.shape[1] / 2, image.shape[0] / 2])
    return set(map(tuple, np.floor((middles - centre) / focal * 40.0 / 0.1).astype(int).tolist()))
