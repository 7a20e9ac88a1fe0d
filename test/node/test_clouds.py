# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""From labels, depth and CameraInfo to a PointCloud2, and why there is none."""

from dataclasses import replace

import depth_encoder
import numpy as np
import pytest
from cameras_with_depth import header
from cloud_reader import read_cloud
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointField

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.cloud_messages import CloudSource
from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.node import log
from clip_dinoiser_ros.node.clouds import MAX_WAITING, Clouds
from clip_dinoiser_ros.node.parameters import CameraTopics, default_settings
from clip_dinoiser_ros.world.scenes import scene

SCENE = scene(5, 64, 48)
CAMERA = CameraTopics(
    'front', '/front/image', 'raw', depth_topic='/front/depth', camera_info_topic='/front/info'
)


def camera_info(camera=SCENE.intrinsics):
    k = camera.matrix()
    return CameraInfo(
        header=header(0),
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=[0.1, 0.2, 0.3, 0.4, 0.5],
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, [[-20.0], [0.0], [0.0]]]).ravel(),
    )


def depth(stamp_ms, values=SCENE.depth, **kwargs):
    return images.to_message(values, '32FC1', header(stamp_ms, **kwargs), Image)


def source(stamp_ms, labels=SCENE.labels, image=SCENE.image, **settings):
    changed = replace(default_settings(), **settings)
    confidence = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    return CloudSource(header(stamp_ms), image, labels, confidence, changed)


@pytest.fixture
def clouds(said, monkeypatch):
    """Clouds with a CameraInfo; a second passes whenever something was said."""
    monkeypatch.setattr(log, 'PERIOD_S', 0.0)
    made = Clouds(CAMERA, said.append)
    made.put_info(camera_info())
    return made


def stamps_ms(messages):
    return [round(m.header.stamp.sec * 1000 + m.header.stamp.nanosec / 1e6) for m in messages]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_the_message(clouds, dtype):
    labels = SCENE.labels.astype(dtype) + dtype(200)
    clouds.put_depth(depth(1000))
    clouds.add(source(1000, labels))
    (message,) = clouds.ready()
    assert message.header == header(1000)
    assert (message.height, message.width) == (48, 64)
    assert (message.point_step, message.row_step) == (24, 24 * 64)
    assert not message.is_dense
    assert not message.is_bigendian
    f32 = PointField.FLOAT32
    label = PointField.UINT8 if dtype == np.uint8 else PointField.UINT16
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ('x', 0, f32, 1),
        ('y', 4, f32, 1),
        ('z', 8, f32, 1),
        ('rgb', 12, f32, 1),
        ('label', 16, label, 1),
        ('confidence', 20, f32, 1),
    ]
    points = read_cloud(message)
    assert points['label'].dtype == dtype
    np.testing.assert_array_equal(points['label'], labels)
    measured = np.isfinite(SCENE.depth)
    np.testing.assert_array_equal(np.isfinite(points['x']), measured)
    camera = SCENE.intrinsics
    u = camera.fx * points['x'] / points['z'] + camera.cx
    np.testing.assert_allclose(u[measured], np.nonzero(measured)[1], atol=1e-3)
    rgb = points['rgb'].view(np.uint32)[..., None] >> np.array([16, 8, 0], np.uint32) & 255
    np.testing.assert_array_equal(rgb, SCENE.image)


def test_compact(clouds):
    clouds.put_depth(depth(1000))
    clouds.add(source(1000, cloud='compact'))
    (message,) = clouds.ready()
    measured = np.isfinite(SCENE.depth)
    assert (message.height, message.width) == (1, measured.sum())
    assert message.row_step == len(message.data) == 24 * measured.sum()
    assert message.is_dense
    np.testing.assert_array_equal(read_cloud(message)['label'][0], SCENE.labels[measured])


def test_compact_without_any_depth_is_empty(clouds):
    clouds.put_depth(depth(1000, np.zeros_like(SCENE.depth)))
    clouds.add(source(1000, cloud='compact'))
    (message,) = clouds.ready()
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)


def test_millimetres_of_another_size_big_endian_with_padded_rows(clouds):
    big = scene(5, 128, 96)
    millimetres = np.where(np.isfinite(big.depth), big.depth * 1000, 0).round().astype('>u2')
    padded = np.full((96, 256 + 6), 0xAA, np.uint8)
    padded[:, :256] = millimetres.view(np.uint8)
    message = Image(
        header=header(1000), height=96, width=128, encoding='16UC1', is_bigendian=1, step=262
    )
    message.data.frombytes(padded)
    clouds.put_depth(message)
    clouds.add(source(1000))
    (cloud,) = clouds.ready()
    expected = np.where(millimetres, millimetres / np.float32(1000), np.nan)[1::2, 1::2]
    np.testing.assert_allclose(read_cloud(cloud)['z'], expected, rtol=1e-6)


def test_sensor_msgs_py_reads_it(clouds):
    point_cloud2 = pytest.importorskip(
        'sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed'
    )
    clouds.put_depth(depth(1000))
    for stamp, kind in ((1000, 'organised'), (999, 'compact')):
        clouds.add(source(stamp, cloud=kind))
        (message,) = clouds.ready()
        ours, theirs = read_cloud(message), point_cloud2.read_points(message)
        for name in ('x', 'y', 'z', 'label', 'confidence'):
            np.testing.assert_array_equal(theirs[name].ravel(), ours[name].ravel())
    dense = point_cloud2.read_points(message, ['x', 'rgb'], skip_nans=True)
    assert len(dense) == message.width


def test_labels_smaller_than_image_and_depth(clouds):
    """As with output_scale: the cloud has the size of the labels."""
    small = scene(5, 32, 24)
    clouds.put_depth(depth(1000))
    clouds.add(source(1000, small.labels, small.image))
    (cloud,) = clouds.ready()
    assert (cloud.height, cloud.width) == (24, 32)
    points = read_cloud(cloud)
    measured = np.isfinite(points['z'])
    camera = Intrinsics.from_fov(32, 24, 64.0)  # as the world has it: an independent scaling
    u = camera.fx * points['x'] / points['z'] + camera.cx
    v = camera.fy * points['y'] / points['z'] + camera.cy
    rows, columns = np.nonzero(measured)
    np.testing.assert_allclose(u[measured], columns, atol=1e-3)
    np.testing.assert_allclose(v[measured], rows, atol=1e-3)


def test_a_camera_info_that_says_only_p(clouds):
    """The size that it lacks is that of the camera image, not of the labels."""
    small = scene(5, 32, 24)
    whole = camera_info()
    clouds.put_info(CameraInfo(p=whole.p))
    clouds.put_depth(depth(1000))
    clouds.add(replace(source(1000, small.labels, small.image), image_size=(48, 64)))
    (message,) = clouds.ready()
    clouds.put_info(whole)
    clouds.add(source(1000, small.labels, small.image))
    assert clouds.ready()[0].data == message.data
    clouds.put_info(CameraInfo(p=whole.p))
    info = clouds.camera_info(header(1000), (24, 32), (48, 64))
    np.testing.assert_allclose(info.p[0], SCENE.intrinsics.fx / 2)
    assert (info.height, info.width) == (24, 32)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_compressed_depth(clouds, codec):
    form, data = depth_encoder.compressed_depth(SCENE.depth, codec)
    clouds.put_depth(CompressedImage(header=header(1000), format=form, data=data))
    clouds.add(source(1000))
    z = read_cloud(clouds.ready()[0])['z']
    near = SCENE.depth < depth_encoder.DEPTH_MAX_M
    assert near.any()
    np.testing.assert_array_equal(np.isfinite(z), near)
    np.testing.assert_allclose(z[near], SCENE.depth[near], atol=0.01)


def test_a_cloud_waits_for_the_depth_that_is_nearer(clouds, said):
    clouds.put_depth(depth(967))
    clouds.add(source(1000))
    assert clouds.ready() == []
    assert clouds.put_depth(depth(1000, np.full_like(SCENE.depth, 7.0)))
    (message,) = clouds.ready()
    assert (read_cloud(message)['z'] == 7.0).all()
    assert not clouds.put_depth(depth(1033))  # nobody waits
    assert said == []


def test_frames_that_wait_are_paired_each_with_its_own(clouds):
    """Depth that comes two frames late, every time."""
    done = []
    for index in range(12):
        stamp = 1000 + 33 * index
        clouds.depth.expect(stamp * 10**6)
        clouds.add(source(stamp))
        done += clouds.ready()
        if index >= 2:
            clouds.put_depth(depth(stamp - 66, np.full_like(SCENE.depth, stamp - 66)))
            done += clouds.ready()
    assert stamps_ms(done) == [1000 + 33 * index for index in range(10)]
    for message in done:
        assert (read_cloud(message)['z'] == stamps_ms([message])[0]).all()


def test_the_nearest_within_tolerance_is_taken_when_nothing_better_comes(clouds, said):
    clouds.put_depth(depth(950))
    clouds.add(source(1000))
    clouds.add(source(1090))
    assert clouds.ready() == []
    clouds.add(source(1101))  # more than 100 ms newer than the first
    assert stamps_ms(clouds.ready()) == [1000]
    assert said == []


def test_the_frames_that_wait_are_bounded(clouds, said):
    clouds.put_depth(depth(900))
    for index in range(50):
        clouds.add(source(1000 + index))
        clouds.ready()
        assert len(clouds._waiting) <= MAX_WAITING
    clouds.drop()
    assert not clouds.put_depth(depth(1000))


@pytest.mark.parametrize('offset_ms', [500, -500])
def test_depth_that_is_too_far_away(clouds, said, offset_ms):
    clouds.put_depth(depth(2000 + offset_ms))
    clouds.add(source(2000))
    clouds.add(source(2101))  # the end of waiting for a depth that is nearer
    assert clouds.ready() == []
    assert said[0] == (
        'front: no cloud: the nearest depth image on /front/depth is 500 ms from the image; '
        'sync_tolerance_ms is 100'
    )


def test_the_tolerance_can_be_set(clouds):
    clouds.put_depth(depth(2500))
    clouds.add(source(2000, sync_tolerance_ms=500.0))
    assert stamps_ms(clouds.ready()) == [2000]


@pytest.mark.parametrize(
    ('prepare', 'words'),
    [
        (lambda c: c.clear(), ['no camera_info received on /front/info']),
        (lambda c: c.depth.clear(), ['no depth image received on /front/depth']),
        (
            lambda c: c.put_depth(depth(1000, SCENE.depth[:, :32].copy())),
            ['depth image is 32x48', 'aligned'],
        ),
        (
            lambda c: c.put_depth(images.to_message(SCENE.image, 'rgb8', header(1000), Image)),
            ["'rgb8' is not depth", '16UC1'],
        ),
        (
            lambda c: c.put_depth(CompressedImage(header=header(1000), format='h264', data=b'1')),
            ["depth of format 'h264': 1 bytes are not a PNG"],
        ),
        (lambda c: c.put_info(CameraInfo(height=48, width=64)), ['not calibrated']),
        (
            lambda c: c.put_info(camera_info(Intrinsics.from_fov(64, 64, 60))),
            ['64x64, but the image is 64x48'],
        ),
    ],
)
def test_why_there_is_no_cloud(clouds, said, prepare, words):
    clouds.put_depth(depth(990))
    prepare(clouds)
    clouds.add(source(1000))
    clouds.add(source(1200))
    assert clouds.ready() == []
    text = said[0]
    assert text.startswith('front: no cloud: ')
    for word in words:
        assert word in text


def test_it_is_said_once_a_second(said, monkeypatch):
    now = 50.0
    monkeypatch.setattr(log.time, 'monotonic', lambda: now)
    clouds = Clouds(CAMERA, said.append)
    for step in range(30):
        now = 50.0 + step / 10
        clouds.add(source(1000 * step))
        clouds.ready()
    assert len(said) == 3


def test_depth_in_another_frame_is_named_once(clouds, said):
    for stamp in (1000, 2000):
        clouds.put_depth(depth(stamp, frame_id='infrared'))
        clouds.add(source(stamp))
        assert len(clouds.ready()) == 1
    assert said == [
        "front: depth comes in the frame 'infrared', the image in 'lens'; clouds are right only "
        'where the depth image is aligned to the image'
    ]


def test_camera_info_is_scaled_to_the_labels(clouds, said):
    info = clouds.camera_info(header(1234, 'other'), (24, 32))
    assert info.header == header(1234, 'other')
    assert (info.height, info.width) == (24, 32)
    fx = SCENE.intrinsics.fx / 2
    # 63 / 2 is the middle of 64 columns, 31 / 2 that of 32
    np.testing.assert_allclose(info.k, [fx, 0, 15.5, 0, fx, 11.5, 0, 0, 1])
    np.testing.assert_allclose(info.p, [fx, 0, 15.5, -10, 0, fx, 11.5, 0, 0, 0, 1, 0])
    assert list(info.d) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(info.r) == np.eye(3).ravel().tolist()
    assert (info.binning_x, info.roi.width) == (0, 0)
    clouds.put_info(CameraInfo(height=48, width=64))
    assert clouds.camera_info(header(1234), (24, 32)) is None
    assert 'front: no camera_info: the camera is not calibrated' in said[0]
