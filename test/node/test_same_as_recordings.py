# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node and `clip-dinoiser bag` publish the same of the same messages."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from cloud_reader import read_cloud
from golden_data import golden
from harness import NAME, Peer, array, class_topics, header_of
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

pytest.importorskip('rosbags', reason='recordings need rosbags')
sys.path.insert(0, str(Path(__file__).parents[1] / 'bag'))

import bags
from cameras_with_depth import RELIABLE_INPUTS, TOPICS, DepthCamera
from clip_dinoiser_ros.msg import DenseFeatures, FrameInfo, Vocabulary

from clip_dinoiser_ros import arguments, cli

FRAME_TOPIC = '/camera/image_raw'
SETTINGS = {
    'min_confidence': 0.3,
    'output_scale': 0.5,
    'temporal_smoothing': 0.4,
    'edges': 'fast',
    'camera.region': [0.1, 0.2, 0.9, 1.0],
    'confidence_encoding': '32FC1',
    'cloud': 'compact',
    'min_object_size': 0.02,
}
OPTIONS = (
    '--min-confidence 0.3 --output-scale 0.5 --temporal-smoothing 0.4 --edges fast '
    '--region 0.1,0.2,0.9,1.0 --confidence-encoding 32FC1 --cloud compact --batch 1 '
    f'--depth-topic {TOPICS["camera.depth_topic"]} '
    f'--camera-info-topic {TOPICS["camera.camera_info_topic"]} '
    '--min-object-size 0.02 '
    '--outputs overlay overlay/compressed classes class_confidences detections instances '
    'features detections_3d markers'
).split()
PER_FRAME = {
    'labels': Image,
    'confidence': Image,
    'overlay': Image,
    'overlay/compressed': CompressedImage,
    'class_confidences': Image,
    'detections': Detection2DArray,
    'instances': Image,
    'features': DenseFeatures,
    'points': PointCloud2,
    'detections_3d': Detection3DArray,
    'markers': MarkerArray,
    'camera_info': CameraInfo,
}
ANNOUNCED = {'label_info': LabelInfo, 'vocabulary': Vocabulary}
KINDS = {**PER_FRAME, **ANNOUNCED, 'frame_info': FrameInfo}
FRAMES = range(5000, 5004)


@pytest.fixture
def inputs():
    return {**TOPICS, **RELIABLE_INPUTS}


def frame_of(index):
    return np.roll(golden('image_160x208_plain')['image'], 8 * (index % 10), axis=1)


def published(peer, names):
    """Send the frames one by one; return outputs by name and frame, and the inputs in order."""
    camera = DepthCamera(peer)
    peer.connect()
    first = camera.connect(frame_of(0), 1000)
    needs_depth = ('points', 'detections_3d', 'markers')
    without_depth = [name for name in (*PER_FRAME, *names) if name not in needs_depth]
    peer.send_until(frame_of(0), first, *without_depth)
    sent = []

    def record(publisher, topic):
        publish = publisher.publish
        return lambda message: (sent.append((topic, message)), publish(message))[1]

    camera.info.publish, camera.depth.publish = (
        record(camera.info, TOPICS['camera.camera_info_topic']),
        record(camera.depth, TOPICS['camera.depth_topic']),
    )
    for index in FRAMES:
        camera.send_info()
        camera.send_depth(index, 2.0 + index % 10)
        sent.append((FRAME_TOPIC, peer.send(frame_of(index), index)))
        peer.of_frame('frame_info', index)
    return {
        (name, index): peer.of_frame(name, index)
        for name in (*PER_FRAME, *names, 'frame_info')
        for index in FRAMES
    }, sent


def recorded(folder, sent):
    """Write what was sent as a recording."""
    kinds = {Image: 'Image', CameraInfo: 'CameraInfo'}
    lines = [
        (
            topic,
            (1000 + number) * 10**9,
            (f'sensor_msgs/msg/{kinds[type(message)]}', serialize_message(message)),
        )
        for number, (topic, message) in enumerate(sent)
    ]
    return bags.write(folder / 'sent', lines)


def assert_same(offline, live, key):
    """Compare two messages exactly, but for the last bits of floats.

    Of a FrameInfo neither durations nor counts since the start are compared.
    """
    assert header_of(offline) == header_of(live), key
    if isinstance(offline, FrameInfo):
        assert offline.batch_size == live.batch_size
    elif isinstance(offline, Image) and offline.encoding.startswith('32FC'):
        assert (offline.encoding, offline.height) == (live.encoding, live.height), key
        np.testing.assert_allclose(array(offline), array(live), atol=1e-5, err_msg=str(key))
    elif isinstance(offline, (Detection2DArray, Detection3DArray)):
        assert len(offline.detections) == len(live.detections) > 0
        for ours, theirs in zip(offline.detections, live.detections, strict=True):
            (one,), (other,) = ours.results, theirs.results
            assert one.hypothesis.score == pytest.approx(other.hypothesis.score, abs=1e-5)
            one.hypothesis.score = other.hypothesis.score
            assert ours == theirs, key
    elif isinstance(offline, DenseFeatures):
        ours, theirs = (np.frombuffer(bytes(m.features), '<f2') for m in (offline, live))
        np.testing.assert_allclose(ours, theirs, atol=1e-3, err_msg=str(key))
        np.testing.assert_allclose(offline.objectness, live.objectness, atol=1e-5)
        for field in live.get_fields_and_field_types().keys() - {'features', 'objectness'}:
            assert getattr(offline, field) == getattr(live, field), field
    elif isinstance(offline, PointCloud2):
        assert offline.fields == live.fields
        ours, theirs = read_cloud(offline), read_cloud(live)
        for name in ('x', 'y', 'z', 'label'):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=str(key))
        np.testing.assert_allclose(ours['confidence'], theirs['confidence'], atol=1e-5)
    else:
        assert offline == live, key


def announcement(message):
    """What is told of the classes, without stamp and version."""
    fields = message.get_fields_and_field_types().keys() - {'header', 'version', 'run_id'}
    return {field: getattr(message, field) for field in fields}


def test_every_output_is_the_same(
    active_node, monkeypatch, tmp_path, golden_files, golden_segmenter, golden_prompts
):
    names = class_topics(golden_prompts[1])
    with Peer() as peer:
        assert all(result.successful for result in peer.set(**SETTINGS))
        peer.listen()
        for name, kind in PER_FRAME.items():
            if name not in ('labels', 'confidence'):
                peer.hear(name, kind)
        peer.hear_classes(golden_prompts[1])
        live, sent = published(peer, names)
        announced = {name: peer.messages(name)[-1] for name in ANNOUNCED}
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: golden_segmenter)
    files = [text for key, value in golden_files.items() for text in (f'--{key}', value)]
    model = ['--device', 'cpu', '--precision', 'fp32', '--short-side', '0']
    source = recorded(tmp_path, sent)
    paths = [str(source), str(tmp_path / 'out'), '--prompts', *golden_prompts]
    assert cli.main(['bag', *paths, *files, *model, *OPTIONS]) == 0
    made = bags.raw(tmp_path / 'out')
    seen = set()
    for topic, _, data in made:
        name = topic.removeprefix(f'{NAME}/camera/')
        message = deserialize_message(data, KINDS.get(name, Image))
        if name in ANNOUNCED:
            assert announcement(message) == announcement(announced[name])
            seen.add(name)
        elif (key := (name, header_of(message).stamp.sec)) in live:
            assert_same(message, live[key], key)
            seen.add(key)
    assert seen == {*live, *announced}
