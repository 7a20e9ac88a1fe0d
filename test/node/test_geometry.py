# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looking at a part of the image, and publishing everything smaller than it, live."""

import numpy as np
import pytest
from cameras_with_depth import INTRINSICS, RELIABLE_INPUTS, TOPICS, DepthCamera
from cloud_reader import read_cloud
from golden_data import golden
from harness import NodeProcess, Peer, array
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CameraInfo, PointCloud2

from clip_dinoiser_ros.frames.class_slugs import class_slug
from clip_dinoiser_ros.frames.outputs import shrink
from clip_dinoiser_ros.frames.overlay import draw_overlay

IMAGE = golden('image_160x208_plain')['image']
REGION = [0.25, 0.5, 1.0, 1.0]
INSIDE = np.zeros((160, 208), bool)
INSIDE[80:, 52:] = True


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    folder = tmp_path_factory.mktemp('node')
    with NodeProcess({**parameters, **TOPICS, **RELIABLE_INPUTS}, folder) as process:
        process.wait_for_log('active; waiting for images')
        yield process
        assert process.end() == 0, process.log
        assert 'Traceback' not in process.log


@pytest.fixture(scope='module')
def rig(node, golden_prompts):
    """A peer that hears everything, its camera, and the frames to send."""
    with Peer() as peer:
        peer.listen(overlay=True)
        peer.hear('points', PointCloud2)
        peer.hear('camera_info', CameraInfo)
        peer.hear('class_confidences')
        peer.hear(f'classes/{class_slug(golden_prompts[1])}/confidence')
        camera = DepthCamera(peer)
        first = camera.connect(IMAGE, 1000)
        peer.set(confidence_encoding='32FC1')
        yield peer, camera, iter(range(first, first + 1000))


@pytest.fixture(autouse=True)
def _restored(rig):
    yield
    whole = {'output_scale': 1.0, 'camera.region': [0.0, 0.0, 1.0, 1.0]}
    assert all(result.successful for result in rig[0].set(**whole))


def show(rig):
    """Send a frame with depth; return its index once all of it has come."""
    peer, camera, frames = rig
    index = next(frames)
    camera.send_depth(index, 2.0)
    peer.send(IMAGE, index)
    peer.of_frame('points', index)
    peer.of_frame('frame_info', index)
    return index


def assert_overlay(peer, index, image, expected, inside):
    """The overlay is the image, tinted inside only."""
    names = expected.vocabulary.names
    drawn = draw_overlay(
        image,
        expected.labels,
        names,
        range(len(names)),
        inside,
        names.index('background'),
        expected.confidence,
    )
    np.testing.assert_array_equal(array(peer.of_frame('overlay', index)), drawn)


def test_a_region(rig, golden_segmenter, golden_prompts):
    peer = rig[0]
    expected = golden_segmenter.segment(IMAGE, golden_segmenter.encode(golden_prompts))
    assert peer.set(**{'camera.region': REGION})[0].successful
    index = show(rig)
    labels = array(peer.of_frame('labels', index))
    np.testing.assert_array_equal(labels, np.where(INSIDE, expected.labels, 255))
    confidence = array(peer.of_frame('confidence', index))
    np.testing.assert_allclose(confidence, np.where(INSIDE, expected.confidence, 0), atol=1e-4)
    assert_overlay(peer, index, IMAGE, expected, INSIDE)
    points = read_cloud(peer.of_frame('points', index))
    np.testing.assert_array_equal(points['label'], labels)
    np.testing.assert_array_equal(points['confidence'], confidence)
    assert (points['z'] == 2.0).all()  # what is not looked at may still be in the way
    maps = array(peer.of_frame('class_confidences', index))
    assert not maps[~INSIDE].any()
    np.testing.assert_allclose(maps[INSIDE].sum(axis=1), 1.0, atol=1e-4)
    one = array(peer.of_frame(f'classes/{class_slug(golden_prompts[1])}/confidence', index))
    np.testing.assert_array_equal(one, maps[..., 1])


@pytest.mark.parametrize(
    'region', [[], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]]
)
def test_no_region(rig, region):
    peer = rig[0]
    assert peer.set(**{'camera.region': REGION})[0].successful
    value = ParameterValue(type=8, double_array_value=region)  # an empty list needs its type
    request = SetParameters.Request(parameters=[Parameter(name='camera.region', value=value)])
    assert peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert (array(peer.of_frame('labels', show(rig))) != 255).all()


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'camera.region': [0.0, 0.0, 640.0, 480.0]}, 'camera.region is [0, 0, 640, 480]: every'),
        ({'camera.region': [0.5, 0.5, 0.5]}, 'camera.region is a list of 3 numbers'),
        (
            {'camera.region': [0.5, 0.5, 0.5, 0.5]},
            'upper left corner of a rectangle must come first',
        ),
        ({'camera.region': [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]}, 'has no area'),
        ({'output_scale': 0.0}, '0.01'),
        ({'output_scale': 1.5}, '1.0'),
    ],
)
def test_unusable_geometry_is_refused(rig, values, reason):
    (result,) = rig[0].set(**values)
    assert not result.successful
    assert reason in result.reason
    assert (array(rig[0].of_frame('labels', show(rig))) != 255).all()


def test_everything_at_half_the_size(rig, golden_segmenter, golden_prompts):
    peer = rig[0]
    region = {'output_scale': 0.5, 'camera.region': REGION}
    assert all(result.successful for result in peer.set(**region))
    index = show(rig)
    vocabulary = golden_segmenter.encode(golden_prompts)
    (patches,) = golden_segmenter.segment_patches([IMAGE], vocabulary)
    expected, inside = patches.enlarge((80, 104)), INSIDE[::2, ::2]
    labels = array(peer.of_frame('labels', index))
    np.testing.assert_array_equal(labels, np.where(inside, expected.labels, 255))
    confidence = array(peer.of_frame('confidence', index))
    np.testing.assert_allclose(confidence, np.where(inside, expected.confidence, 0), atol=1e-4)
    assert_overlay(peer, index, shrink(IMAGE, (80, 104)), expected, inside)
    assert array(peer.of_frame('class_confidences', index)).shape == (80, 104, len(golden_prompts))
    info = peer.of_frame('camera_info', index)
    assert (info.height, info.width) == (80, 104)
    expected_k = [95, 0, 102 / 2 - 0.5, 0, 92.5, 83.5 / 2 - 0.5, 0, 0, 1]
    np.testing.assert_allclose(info.k, expected_k)
    # the cloud, seen by the camera that is published: pixel by pixel the label image
    points = read_cloud(peer.of_frame('points', index))
    np.testing.assert_array_equal(points['label'], labels)
    rows, columns = np.indices((80, 104))
    k = np.array(info.k).reshape(3, 3)
    u = points['x'] / points['z'] * k[0, 0] + k[0, 2]
    v = points['y'] / points['z'] * k[1, 1] + k[1, 2]
    np.testing.assert_allclose(u, columns, atol=1e-3)
    np.testing.assert_allclose(v, rows, atol=1e-3)
    # and the same places in space as at full size: the outermost corners of the image
    left = (points['x'] - 0.5 * 2.0 / k[0, 0])[0, 0]
    np.testing.assert_allclose(left, (-0.5 - INTRINSICS.cx) / INTRINSICS.fx * 2.0, rtol=1e-5)


def test_the_smallest_size_there_is(rig):
    peer = rig[0]
    assert peer.set(output_scale=0.01)[0].successful
    index = show(rig)
    assert array(peer.of_frame('labels', index)).shape == (2, 2)
    assert array(peer.of_frame('overlay', index)).shape == (2, 2, 3)
