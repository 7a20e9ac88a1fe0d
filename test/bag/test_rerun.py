# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The file of the Rerun viewer has what the bag has, read back by Rerun's own reader."""

import contextlib
import importlib.metadata
import io
import os
import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import quick_model
from bags import SECOND, START_NS, header, image_message, info_message, make, pixels, read, write
from PIL import Image
from quick_model import NAMES

from clip_dinoiser_ros.bag import rerun_file
from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.playback import Classes, Shown
from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import Selection
from clip_dinoiser_ros.frames.overlay import colour

IMAGE, DEPTH, INFO = '/front/image_raw', '/front/depth', '/front/camera_info'
FRAMES, SIZE = 3, (96, 128)
K = np.array([100.0, 0, 63.5, 0, 100.0, 47.5, 0, 0, 1])
PLACES = ('--depth-topic', DEPTH, '--camera-info-topic', INFO, '--object-classes', 'red ball')
OUT = '/clip_dinoiser/front'
TIMES = [START_NS + index * SECOND // 10 for index in range(FRAMES)]

needs_rerun = pytest.mark.skipif(
    find_spec('rerun') is None, reason='rerun-sdk is not installed: make test-rerun'
)


def transforms(time_ns, child, parent, x, data=None):
    """A message of one transform."""
    name = 'tf2_msgs/msg/TFMessage'
    moved = make(
        'geometry_msgs/msg/Transform',
        translation=make('geometry_msgs/msg/Vector3', x=x, y=0.0, z=1.0),
        rotation=make('geometry_msgs/msg/Quaternion', x=-0.5, y=0.5, z=-0.5, w=0.5),
    )
    stamped = make(
        'geometry_msgs/msg/TransformStamped',
        header=header(time_ns, parent),
        child_frame_id=child,
        transform=moved,
    )
    content = typestore().serialize_cdr(make(name, transforms=[stamped]), name)
    return name, bytes(content) if data is None else data


@pytest.fixture
def lines():
    """A ball that moves two metres before a camera that moves as well."""
    lines = [('/tf_static', START_NS - SECOND, transforms(START_NS, 'lens', 'base', 0.5))]
    for index, time_ns in enumerate(TIMES):
        image, metres = np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 5, np.float32)
        metres[0, 0] = np.nan
        for array, value in ((image, (32, 128, 0)), (metres, 2.0)):
            cv2.circle(array, (40 + 8 * index, 50), 20, value, cv2.FILLED)
        lines += [
            ('/tf', time_ns, transforms(time_ns, 'base', 'map', float(index))),
            (IMAGE, time_ns, image_message(image, time_ns)),
            (INFO, time_ns, info_message(time_ns, height=SIZE[0], width=SIZE[1], k=K)),
            (DEPTH, time_ns, image_message(metres, time_ns, '32FC1')),
        ]
    return lines


@pytest.fixture
def source(tmp_path, lines):
    return write(tmp_path / 'in', lines)


def logged(path, recordings=True):
    """Return {entity: {component: [(time in ns or None, value)]}}, in order of time."""
    from rerun.chunk import RrdReader

    reader = RrdReader(path)
    (entry,) = reader.recordings() if recordings else reader.blueprints()
    found = {}
    for chunk in reader.stream(store=entry):
        batch = chunk.to_record_batch()
        times = [None] * batch.num_rows
        if rerun_file.TIMELINE in batch.schema.names:
            column = batch.column(rerun_file.TIMELINE)
            times = column.cast('int64').to_pylist()
        for name in batch.schema.names:
            if ':' in name:
                values = found.setdefault(chunk.entity_path, {}).setdefault(name, [])
                rows = zip(times, batch.column(name).to_pylist(), strict=True)
                values += [(time, value) for time, value in rows if value is not None]
    for components in found.values():
        for values in components.values():
            values.sort(key=lambda pair: pair[0] or 0)
    return found


def images(components, archetype, dtype):
    """Return {time: array (H, W)}."""
    sizes = components[f'{archetype}:format']
    found = {}
    for (time, (content,)), (_, (size,)) in zip(
        components[f'{archetype}:buffer'], sizes, strict=True
    ):
        array = np.array(content, np.uint8).view(dtype)
        found[time] = array.reshape(size['height'], size['width'])
    return found


def classes_of(context):
    """Return {id: (name, RGBA as Rerun packs it)}."""
    (entries,) = context
    infos = [one['class_description']['info'] for one in entries]
    return {one['id']: (one['label'], one['color']) for one in infos}


def packed(rgb, alpha=255):
    return int.from_bytes(bytes([*rgb, alpha]), 'big')


@needs_rerun
def test_file_has_every_message_of_the_bag(run_quickly, source, tmp_path):
    path = tmp_path / 'out.rrd'
    assert run_quickly('bag', source, tmp_path / 'out', *PLACES, '--rerun', path) == 0
    found = logged(path)
    made = {}
    for topic, time, message in read(tmp_path / 'out'):
        made.setdefault(topic, {})[time] = message

    labels = images(found['/front/image/labels'], 'SegmentationImage', np.uint8)
    confidence = images(found['/front/image/confidence'], 'Image', np.uint8)
    depth = images(found['/front/image/depth'], 'DepthImage', np.float32)
    assert list(labels) == list(confidence) == list(depth) == TIMES
    for index, time in enumerate(TIMES):
        np.testing.assert_array_equal(labels[time], pixels(made[f'{OUT}/labels'][time]))
        np.testing.assert_array_equal(confidence[time], pixels(made[f'{OUT}/confidence'][time]))
        assert (depth[time][0, 0], depth[time][50, 40 + 8 * index]) == (0, 2)  # 0: not measured
        assert set(np.unique(depth[time])) == {0, 2, 5}

    ((_, context),) = found['/front']['AnnotationContext:context']
    known = {i: (name, packed(colour(i))) for i, name in enumerate(NAMES)}
    assert classes_of(context) == {**known, 255: ('unlabelled', 0)}

    jpegs = found['/front/image/rgb']['EncodedImage:blob']
    for index, (_, (content,)) in enumerate(jpegs):
        image = np.asarray(Image.open(io.BytesIO(bytes(content))))
        assert image.shape == (*SIZE, 3)
        assert np.abs(image[50, 40 + 8 * index].astype(int) - (32, 128, 0)).max() < 10

    for name in NAMES:
        (entity,) = [e for e in found if e.replace('\\', '') == f'/front/share/{name}']
        shares = [value for _, (value,) in found[entity]['Scalars:scalars']]
        index = NAMES.index(name)
        assert shares == pytest.approx([np.mean(labels[t] == index) for t in TIMES])
        assert found[entity]['SeriesLines:names'] == [(None, [name])]
        assert found[entity]['SeriesLines:colors'] == [(None, [packed(colour(index))])]


@needs_rerun
def test_camera_model_points_and_transforms(run_quickly, source, tmp_path):
    path = tmp_path / 'out.rrd'
    assert run_quickly('bag', source, tmp_path / 'out', *PLACES, '--rerun', path) == 0
    found = logged(path)
    camera = found['/front/image']
    for _, (matrix,) in camera['Pinhole:image_from_camera']:
        np.testing.assert_array_equal(np.reshape(matrix, (3, 3)).T, K.reshape(3, 3))
    assert {tuple(size[0]) for _, size in camera['Pinhole:resolution']} == {SIZE[::-1]}

    points = found['/front/points']
    assert [time for time, _ in points['Points3D:positions']] == TIMES
    for (_, places), (_, ids) in zip(
        points['Points3D:positions'], points['Points3D:class_ids'], strict=True
    ):
        assert len(places) == len(ids) == SIZE[0] * SIZE[1] - 1  # one has no depth
        assert {z for (_, _, z), i in zip(places, ids, strict=True) if i == 1} == {2}

    boxes = found['/front/image/objects']
    for index, (_, (half,)) in enumerate(boxes['Boxes2D:half_sizes']):
        centre = boxes['Boxes2D:centers'][index][1][0]
        assert (centre, half) == ([40.5 + 8 * index, 50.5], [20.5, 20.5])
    assert boxes['Boxes2D:class_ids'] == [(time, [1]) for time in TIMES]
    assert boxes['Boxes2D:labels'][0][1][0].startswith('red ball 0.50')
    for index, (_, (centre,)) in enumerate(found['/front/objects']['Boxes3D:centers']):
        x, y, z = (40 + 8 * index - 63.5) / 100 * 2, (50 - 47.5) / 100 * 2, 2
        assert centre == pytest.approx([x, y, z], abs=0.01)

    assert found['/front']['Transform3D:parent_frame'] == [(None, ['lens'])]
    lens, base = found['/tf/lens'], found['/tf/base']
    assert lens['Transform3D:translation'] == [(None, [[0.5, 0, 1]])]  # static
    assert lens['Transform3D:quaternion'] == [(None, [[-0.5, 0.5, -0.5, 0.5]])]
    assert lens['Transform3D:parent_frame'] == [(None, ['base'])]
    moves = [[float(index), 0, 1] for index in range(FRAMES)]
    assert base['Transform3D:translation'] == [(t, [m]) for t, m in zip(TIMES, moves, strict=True)]
    assert {parent for _, (parent,) in base['Transform3D:parent_frame']} == {'map'}


@needs_rerun
def test_the_blueprint_shows_it_all(run_quickly, source, tmp_path):
    path = tmp_path / 'out.rrd'
    assert run_quickly('bag', source, tmp_path / 'out', *PLACES, '--rerun', path) == 0
    blueprint = logged(path, recordings=False)
    kinds, contents, frames = [], [], []
    for components in blueprint.values():
        kinds += [v[0] for _, v in components.get('ViewBlueprint:class_identifier', [])]
        contents += [text for _, v in components.get('ViewContents:query', []) for text in v]
        frames += [v[0] for _, v in components.get('SpatialInformation:target_frame', [])]
    assert sorted(kinds) == ['2D', '2D', '2D', '3D', 'TimeSeries']
    layers = [f'/front/image/{one}' for one in ('rgb', 'labels', 'objects', 'confidence', 'depth')]
    assert {*layers, '/front/share/**', '/**'} <= set(contents)
    assert frames == ['map']


@needs_rerun
def test_without_depth_and_intrinsics(run_quickly, source, tmp_path):
    path = tmp_path / 'out.rrd'
    options = ('--topic', IMAGE, '--rerun', path)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    found = logged(path)
    assert '/front/image/labels' in found
    assert not {'/front/image', '/front/image/depth', '/front/points', '/front/objects'} & {*found}


@needs_rerun
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_another_vocabulary_switches_the_context(source, tmp_path, dtype):
    unlabelled = np.iinfo(dtype).max
    vocabularies = [
        Classes(('floor', 'person'), (0, 1), unlabelled, ''),
        Classes(('floor', 'pallet'), (0, 200), unlabelled, ''),
    ]
    camera = Camera(IMAGE, 'front')
    labelled = np.ones((4, 5), bool)
    labelled[0, 0] = False
    with Recording(source) as recording:
        selection = Selection({IMAGE: camera})
        with rerun_file.RerunFile(tmp_path / 'a.rrd', recording, selection, False) as file:
            for time, classes in zip(TIMES, [*vocabularies, vocabularies[1]], strict=True):
                index, image = np.ones((4, 5), dtype), np.zeros((4, 5, 3), np.uint8)
                file.add(Shown(camera, time, image, index, labelled, None, classes))
            file.finish(source)
    found = logged(tmp_path / 'a.rrd')
    contexts = found['/front']['AnnotationContext:context']
    assert [time for time, _ in contexts] == TIMES[:2]
    for (_, context), name, class_id in zip(contexts, ('person', 'pallet'), (1, 200), strict=True):
        assert set(classes_of(context)) == {0, class_id, unlabelled}
        assert classes_of(context)[class_id] == (name, packed(colour(class_id)))
    labels = images(found['/front/image/labels'], 'SegmentationImage', dtype)
    assert [array[1, 1] for array in labels.values()] == [1, 200, 200]
    assert {array[0, 0] for array in labels.values()} == {unlabelled}
    assert '/front/image/confidence' not in found


@needs_rerun
@pytest.mark.parametrize('room', [0, 64_000])
def test_full_disk(source, tmp_path, small_disk, room):
    """In a process of its own, which has to end."""
    taken = small_disk / 'taken'
    with contextlib.suppress(OSError):
        taken.write_bytes(bytes(2 * 2**20))
    os.truncate(taken, 2 * 2**20 - room)
    path = small_disk / 'a.rrd'
    words = [source, tmp_path / 'out', *PLACES, '--rerun', path, *quick_model.ARGUMENTS]
    program = [sys.executable, quick_model.__file__, 'bag']
    ended = subprocess.run([*program, *words], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert 'No space left on device' in ended.stderr
    assert '--resume continues' in ended.stderr
    assert 'Traceback' not in ended.stderr
    assert not path.exists()


@needs_rerun
def test_a_damaged_transform_is_told(run_quickly, lines, tmp_path, capsys):
    lines.append(
        ('/tf', TIMES[-1], transforms(TIMES[-1], 'base', 'map', 9.0, data=b'\0\1\0\0\xff'))
    )
    path = tmp_path / 'out.rrd'
    source = write(tmp_path / 'in', lines)
    assert run_quickly('bag', source, tmp_path / 'out', *PLACES, '--rerun', path) == 3
    assert f'/tf at {TIMES[-1] / SECOND:.6f} s' in capsys.readouterr().err
    assert len(logged(path)['/tf/base']['Transform3D:translation']) == FRAMES


@needs_rerun
@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('out.rec', 'out.rec: the name must end in .rrd'),
        ('there.rrd', 'there.rrd exists; --force replaces it'),
        ('in/a.rrd', 'would overwrite the input'),
        ('out/a.rrd', 'lies in the output'),
        ('none/a.rrd', 'there is no folder'),
    ],
)
def test_refused_before_anything_is_done(run_quickly, source, tmp_path, capsys, name, reason):
    (tmp_path / 'there.rrd').write_text('mine')
    options = ('--topic', IMAGE, '--rerun', tmp_path / name)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert (tmp_path / 'there.rrd').read_text() == 'mine'
    options = ('--topic', IMAGE, '--rerun', tmp_path / 'there.rrd', '--force')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    assert logged(tmp_path / 'there.rrd')
    assert not [*tmp_path.glob('*.partial')]


def test_missing_package_is_named(run_quickly, source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    options = ('--topic', IMAGE, '--rerun', tmp_path / 'a.rrd')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 1
    said = capsys.readouterr().err
    assert "--rerun needs the package rerun-sdk: pip install 'rerun-sdk==0.41.*'" in said
    assert said.count('\n') == 1
    assert {p.name for p in tmp_path.iterdir()} == {'in'}


def test_another_version_is_named(run_quickly, source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rerun', object())
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '0.410.0')
    options = ('--topic', IMAGE, '--rerun', tmp_path / 'a.rrd')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 1
    assert '--rerun needs rerun-sdk 0.41, 0.410.0 is installed' in capsys.readouterr().err


@needs_rerun
def test_rerun_turned_off_is_named(run_quickly, source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('RERUN', '0')
    options = ('--topic', IMAGE, '--rerun', tmp_path / 'a.rrd')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 1
    assert 'the environment variable RERUN turns Rerun off' in capsys.readouterr().err
