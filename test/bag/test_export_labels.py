# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Labels leave a recording in the formats of others, and come back pixel for pixel."""

import csv
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from bags import SECOND, START_NS, compressed_message, header, image_message, make, read, write
from PIL import Image
from quick_model import NAMES
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros import cli
from clip_dinoiser_ros.bag.types import IMAGE, VOCABULARY, typestore
from clip_dinoiser_ros.evaluation.folder import open_folder

TOPIC = '/front/image_raw'
LABELS = '/clip_dinoiser/front/labels'


def drive(path, shift=0, count=4):
    """A recording whose frames have all classes; the last two are alike."""
    messages = []
    for i in range(count):
        image = np.random.default_rng(shift + min(i, 2)).integers(0, 96, (24, 40, 3), np.uint8)
        image[:, :10], image[5:9, 20:] = (0, 255, 0), (64, 30 * i, 0)
        time_ns = START_NS + i * SECOND // 10
        messages.append((TOPIC, time_ns, compressed_message(image, time_ns)))
    return write(path, messages)


@pytest.fixture
def labelled(run_quickly, tmp_path):
    """Two labelled recordings that have their images; some pixels are unlabelled."""
    for number, name in enumerate(('monday', 'tuesday')):
        source = drive(tmp_path / f'{name}_in', 10 * number, 4 - number)
        options = ('--copy', TOPIC, '--min-confidence', 0.1)
        assert run_quickly('bag', source, tmp_path / name, *options) == 0
    return tmp_path / 'monday', tmp_path / 'tuesday'


def truth(bag):
    """Images by the time of recording: labels as in the bag, and the picture."""
    messages = read(bag)
    labels = {t: m.data.reshape(m.height, m.width) for topic, t, m in messages if topic == LABELS}
    pictures = {
        t: cv2.imdecode(m.data, cv2.IMREAD_COLOR)[..., ::-1]
        for topic, t, m in messages
        if topic == TOPIC
    }
    assert len(labels) > 2
    assert {*np.unique(np.stack(list(labels.values())))} == {0, 1, 2, 255}
    return {t: (labels[t], pictures[t]) for t in labels}


def names_of(bag):
    return {f'{bag.name}_front_{t}': both for t, both in truth(bag).items()}


def export(*words):
    return cli.main(['export-labels', *map(str, words)])


def both_splits(labelled, out, kind, *more):
    monday, tuesday = labelled
    assert export(monday, out, '--format', kind, '--val', tuesday, *more) == 0
    return {'train': names_of(monday), 'val': names_of(tuesday)}


def read_rgb(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def test_mmseg_folders_have_every_pixel_and_our_evaluation_reads_them(labelled, tmp_path):
    out = tmp_path / 'out'
    for split, images in both_splits(labelled, out, 'mmseg').items():
        assert {p.stem for p in (out / 'annotations' / split).iterdir()} == set(images)
        for name, (labels, picture) in images.items():
            pixels = np.array(Image.open(out / 'annotations' / split / f'{name}.png'))
            assert np.array_equal(pixels, labels)
            assert np.array_equal(read_rgb(out / 'images' / split / f'{name}.png'), picture)
    assert (out / 'classes.txt').read_text().splitlines() == NAMES
    with (out / 'classes.csv').open(newline='') as file:
        assert [row['prompt'] for row in csv.DictReader(file)] == NAMES
    known = open_folder(out / 'images', out / 'annotations', out / 'classes.csv')
    assert list(known.prompts) == NAMES
    assert len(known.samples) == 7


def test_voc_folders_have_every_pixel_by_index_and_by_colour(labelled, tmp_path):
    out = tmp_path / 'out'
    splits = both_splits(labelled, out, 'voc')
    lines = (out / 'labelmap.txt').read_text().splitlines()[1:]
    assert [line.split(':')[0] for line in lines] == NAMES
    colours = [tuple(map(int, line.split(':')[1].split(','))) for line in lines]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == len(colours)
    for split, images in splits.items():
        listed = (out / 'ImageSets/Segmentation' / f'{split}.txt').read_text().split()
        assert listed == list(images)
        for name, (labels, picture) in images.items():
            image = Image.open(out / 'SegmentationClass' / f'{name}.png')
            assert image.mode == 'P'
            assert np.array_equal(np.array(image), labels)
            rgb = np.array(image.convert('RGB'))
            for index, colour in enumerate(colours):
                assert np.array_equal((rgb == colour).all(axis=-1), labels == index)
            assert np.array_equal(read_rgb(out / 'JPEGImages' / f'{name}.png'), picture)


def test_cvat_zip_has_every_pixel_and_nothing_where_there_is_no_label(labelled, tmp_path):
    out = tmp_path / 'out.zip'
    splits = both_splits(labelled, out, 'cvat', '--image-format', 'none')
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / 'unpacked')
    for images in splits.values():
        for name, (labels, _) in images.items():
            path = tmp_path / 'unpacked/SegmentationClass' / f'{name}.png'
            assert np.array_equal(np.array(Image.open(path)), np.where(labels == 255, 0, labels))
    assert not (tmp_path / 'unpacked/JPEGImages').exists()
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith('out')} == {'out.zip'}


def test_datumaro_reads_the_cvat_zip(labelled, tmp_path):
    datumaro = pytest.importorskip('datumaro', reason='datumaro is not installed')
    out = tmp_path / 'out.zip'
    splits = both_splits(labelled, out, 'cvat')
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / 'unpacked')
    found = datumaro.Dataset.import_from(str(tmp_path / 'unpacked'), 'voc_segmentation')
    names = [label.name for label in found.categories()[datumaro.AnnotationType.label].items]
    for split, images in splits.items():
        assert {item.id for item in found.subsets()[split]} == set(images)
        for item in found.subsets()[split]:
            labels, _ = images[item.id]
            for index, name in enumerate(NAMES[1:], 1):
                masks = [a.image for a in item.annotations if names[a.label] == name]
                assert np.array_equal(np.any(masks, axis=0), labels == index)


def test_coco_masks_decode_to_every_pixel(labelled, tmp_path):
    pytest.importorskip('pycocotools')
    from pycocotools.coco import COCO

    out = tmp_path / 'out'
    for split, images in both_splits(labelled, out, 'coco').items():
        coco = COCO(str(out / 'annotations' / f'instances_{split}.json'))
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == NAMES
        assert len(coco.imgs) == len(images)
        for number, entry in coco.imgs.items():
            labels, picture = images[Path(entry['file_name']).stem]
            again = np.full(labels.shape, 255, np.uint8)
            for annotation in coco.loadAnns(coco.getAnnIds([number])):
                mask = coco.annToMask(annotation).astype(bool)
                assert annotation['area'] == mask.sum()
                assert 0 <= annotation['score'] <= 1
                rows, columns = np.nonzero(mask)
                x, y, width, height = annotation['bbox']
                assert (x, y) == (columns.min(), rows.min())
                assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
                again[mask] = annotation['category_id'] - 1
            assert np.array_equal(again, labels)
            assert np.array_equal(read_rgb(out / 'images' / split / entry['file_name']), picture)


def test_label_studio_masks_decode_to_every_pixel(labelled, tmp_path):
    brush = pytest.importorskip('label_studio_sdk.converter.brush', reason='no label-studio-sdk')
    out = tmp_path / 'out'
    for split, images in both_splits(labelled, out, 'label-studio').items():
        tasks = json.loads((out / f'tasks_{split}.json').read_text())
        assert len(tasks) == len(images)
        for task in tasks:
            file = task['data']['image'].removeprefix('/data/local-files/?d=out/')
            labels, picture = images[Path(file).stem]
            assert np.array_equal(read_rgb(out / file), picture)
            (prediction,) = task['predictions']
            assert 0 < prediction['score'] <= 1
            again = np.full(labels.shape, 255, np.uint8)
            for result in prediction['result']:
                size = (result['original_height'], result['original_width'])
                decoded = brush.decode_rle(result['value']['rle']).reshape(*size, 4)
                (name,) = result['value']['brushlabels']
                again[decoded[..., 3] == 255] = NAMES.index(name)
            assert np.array_equal(again, labels)
    config = ElementTree.parse(out / 'labeling_config.xml')
    assert [label.get('value') for label in config.iter('Label')] == NAMES


@pytest.mark.parametrize(
    ('kind', 'module', 'package'),
    [
        ('coco', 'pycocotools', 'pycocotools'),
        ('label-studio', 'label_studio_sdk', 'label-studio-sdk'),
    ],
)
def test_missing_package(labelled, tmp_path, monkeypatch, capsys, kind, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    assert export(labelled[0], tmp_path / 'out', '--format', kind) == 1
    assert f'pip install {package}' in capsys.readouterr().err
    assert not list(tmp_path.glob('out*'))


def exported(out):
    return sorted(path.stem for path in (out / 'annotations/train').iterdir())


def test_which_images(labelled, tmp_path):
    monday, _ = labelled
    names = sorted(names_of(monday))
    options = ('--format', 'mmseg', '--image-format', 'none')
    assert export(monday, tmp_path / 'a', *options, '--every', 3) == 0
    assert exported(tmp_path / 'a') == names[::3]
    assert not (tmp_path / 'a/images').exists()
    assert export(monday, tmp_path / 'b', *options, '--min-change', 0.05) == 0
    assert exported(tmp_path / 'b') == names[:3]


def test_min_confidence_leaves_the_background(labelled, tmp_path):
    monday, _ = labelled
    options = ('--format', 'mmseg', '--min-confidence', 0.25)
    assert export(monday, tmp_path / 'out', *options) == 0
    confidence = {
        t: m.data.reshape(m.height, m.width) / 255
        for topic, t, m in read(monday)
        if topic.endswith('/confidence')
    }
    for t, (labels, _) in truth(monday).items():
        path = tmp_path / 'out/annotations/train' / f'monday_front_{t}.png'
        cut = (confidence[t] < 0.25) & (labels != 0)
        assert cut.any()
        assert np.array_equal(np.array(Image.open(path)), np.where(cut, 255, labels))


def test_images_of_another_recording(run_quickly, labelled, tmp_path):
    source = tmp_path / 'monday_in'
    assert run_quickly('bag', source, tmp_path / 'bare') == 0
    assert export(tmp_path / 'bare', tmp_path / 'out', '--format', 'voc', '--images', source) == 0
    for t, (_, picture) in truth(labelled[0]).items():
        name = f'bare_front_{t}.png'
        assert np.array_equal(read_rgb(tmp_path / 'out/JPEGImages' / name), picture)


def test_image_files(run_quickly, tmp_path):
    photos = tmp_path / 'photos'
    photos.mkdir()
    image = np.random.default_rng(3).integers(0, 96, (20, 30, 3), np.uint8)
    cv2.imwrite(str(photos / 'a.png'), image[..., ::-1])
    found = tmp_path / 'found'
    assert run_quickly('image', photos, '--output', found, '--min-confidence', 0.1) == 0
    assert export(found, tmp_path / 'out', '--format', 'mmseg', '--images', photos) == 0
    labels = cv2.imread(str(found / 'a_labels.png'), cv2.IMREAD_UNCHANGED)
    again = np.array(Image.open(tmp_path / 'out/annotations/train/found_a.png'))
    assert np.array_equal(again, labels)
    assert len(np.unique(labels)) == 4
    assert np.array_equal(read_rgb(tmp_path / 'out/images/train/found_a.png'), image)


def node_recording(path):
    """As a node is recorded: labels come late and not in turn, and the prompts change."""
    store, messages = typestore(), []

    def put(topic, time_ns, type_name, message):
        data = bytes(store.serialize_cdr(message, type_name))
        messages.append((f'/clip_dinoiser/front/{topic}', time_ns, (type_name, data)))

    for version, names in ((1, ['grass', 'sky']), (2, ['car', 'grass'])):
        fields = {
            'header': header(START_NS, ''),
            'version': version,
            'names': names,
            'ids': np.array([{'grass': 0, 'sky': 1, 'car': 2}[name] for name in names], np.uint16),
            'prompts': names,
            'background': '',
            'templates': 'imagenet',
            'unlabelled_id': 255,
            'run_id': '',
        }
        # the second one is recorded after the first labels that use it
        put(
            'vocabulary',
            START_NS + (version - 1) * 3 * SECOND // 10,
            VOCABULARY,
            make(VOCABULARY, **fields),
        )
    for i in range(4):
        stamp = START_NS + i * SECOND // 10
        late = stamp + SECOND // 10 - i
        image = np.full((4, 6, 3), 50 * i, np.uint8)
        messages.append((TOPIC, stamp, image_message(image, stamp)))
        if i == 1:  # the node was busy
            continue
        labels = np.full((4, 6), 0 if i < 2 else 2, np.uint8)
        labels[0] = 255
        messages.append((LABELS, late, image_message(labels, stamp, 'mono8')))
        kind = 'clip_dinoiser_ros/msg/FrameInfo'
        numbers = [
            name
            for name in store.types[kind].__dataclass_fields__
            if name not in ('header', '__msgtype__')
        ]
        values = dict.fromkeys(numbers, 0) | {'vocabulary_version': 1 if i < 2 else 2}
        put('frame_info', late + 1, kind, make(kind, header=header(stamp), **values))
    return write(path, sorted(messages, key=lambda message: message[1]), latched=())


def test_recording_of_a_node_whose_prompts_changed(tmp_path):
    bag = node_recording(tmp_path / 'live')
    assert export(bag, tmp_path / 'out', '--format', 'mmseg') == 0
    assert (tmp_path / 'out/classes.txt').read_text().split() == ['grass', 'sky', 'car']
    names = exported(tmp_path / 'out')
    assert names == [f'live_front_{START_NS + i * SECOND // 10}' for i in (0, 2, 3)]
    for name, index, grey in zip(names, (0, 2, 2), (0, 100, 150), strict=True):
        pixels = np.array(Image.open(tmp_path / 'out/annotations/train' / f'{name}.png'))
        assert (pixels[0] == 255).all()
        assert (pixels[1:] == index).all()
        assert (read_rgb(tmp_path / 'out/images/train' / f'{name}.png') == grey).all()
    assert export(bag, tmp_path / 'cut', '--format', 'mmseg', '--min-confidence', 0.5) == 1
    assert not list(tmp_path.glob('cut*'))


def test_damaged_image_is_told(labelled, tmp_path, capsys):
    monday, _ = labelled
    source = write(
        tmp_path / 'bad',
        [
            (TOPIC, START_NS, (IMAGE, b'damaged')),
            *(
                (TOPIC, t, image_message(picture, t))
                for t, (_, picture) in truth(monday).items()
                if t > START_NS
            ),
        ],
    )
    assert export(monday, tmp_path / 'out', '--format', 'voc', '--images', source) == 3
    said = capsys.readouterr().err
    assert f'{TOPIC} at {START_NS / SECOND:.6f} s: not a {IMAGE}' in said
    assert len(list((tmp_path / 'out/JPEGImages').iterdir())) == 3


def rewritten(bag, path, changes):
    """Copy a bag; `changes` maps (topic, number of the message on it) to a change of its bytes."""
    messages, met = [], Counter()
    with Reader(bag) as reader:
        for connection, time_ns, data in reader.messages():
            change = changes.get((connection.topic, met[connection.topic]), bytes)
            met[connection.topic] += 1
            messages.append((connection.topic, time_ns, (connection.msgtype, change(data))))
    return write(path, messages)


def flat(data):
    """Take one row off the height of an image."""
    message = typestore().deserialize_cdr(data, IMAGE)
    message.height -= 1
    return bytes(typestore().serialize_cdr(message, IMAGE))


def small(data):
    """Take one row off an image."""
    message = typestore().deserialize_cdr(data, IMAGE)
    message.height -= 1
    message.data = message.data[: message.height * message.step]
    return bytes(typestore().serialize_cdr(message, IMAGE))


@pytest.mark.parametrize(
    ('output', 'change', 'reason'),
    [
        ('labels', lambda data: data[:7], 'it is cut off in its header'),
        ('labels', lambda data: data[:12], f'not a {IMAGE}'),
        ('labels', lambda data: data[:-1], f'not a {IMAGE}'),
        ('labels', flat, 'not an image: cannot reshape'),
        ('labels', lambda data: data.replace(b'mono8', b'mono9'), "not an image: 'mono9'"),
        ('confidence', lambda data: data[:40], f'not a {IMAGE}'),
        ('confidence', small, 'not of the size of the labels'),
        ('frame_info', lambda data: data[:30], 'not a clip_dinoiser_ros/msg/FrameInfo'),
    ],
)
def test_a_damaged_result_costs_its_image_and_is_told(
    output, change, reason, labelled, tmp_path, capsys
):
    monday, _ = labelled
    topic = f'/clip_dinoiser/front/{output}'
    bad = rewritten(monday, tmp_path / 'bad', {(topic, 1): lambda data: change(bytes(data))})
    assert export(bad, tmp_path / 'out', '--format', 'voc') == 3
    said = capsys.readouterr().err
    assert f'{topic} at {(START_NS + SECOND // 10) / SECOND:.6f} s: {reason}' in said
    assert len(list((tmp_path / 'out/JPEGImages').iterdir())) == 3


def test_a_damaged_vocabulary_is_told(labelled, tmp_path, capsys):
    monday, _ = labelled
    topic = '/clip_dinoiser/front/vocabulary'
    bad = rewritten(monday, tmp_path / 'bad', {(topic, 0): lambda data: bytes(data[:30])})
    assert export(bad, tmp_path / 'out', '--format', 'voc') == 1
    said = capsys.readouterr().err
    assert 'does not say what its labels mean' in said
    assert f'{topic} at {START_NS / SECOND:.6f} s: not a {VOCABULARY}' in said


def test_bad_input_is_told_in_one_line_before_anything_is_written(labelled, tmp_path, capsys):
    monday, _ = labelled
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'here').mkdir()
    bare = drive(tmp_path / 'bare')
    out, mmseg = tmp_path / 'new', ('--format', 'mmseg')
    cases = [
        ((tmp_path / 'nowhere', out, *mmseg), 'nowhere does not exist'),
        ((tmp_path / 'empty', out, *mmseg), 'empty is empty'),
        ((bare, out, *mmseg), 'clip-dinoiser bag makes a recording'),
        ((monday, tmp_path / 'here', *mmseg), 'here exists'),
        ((monday, monday / 'out', *mmseg), 'would overwrite the input'),
        ((monday, out, '--format', 'cvat'), 'ends in .zip'),
        ((monday, out, *mmseg, '--val', monday), 'named twice'),
        ((monday, out, *mmseg, '--images', bare, bare), '--images names 2 for 1'),
        ((monday, out, *mmseg, '--every', 0), '--every is 0'),
        ((monday, out, *mmseg, '--min-change', 2), '--min-change is 2.0'),
        ((monday, out, *mmseg, '--topic', '/no'), '/no is not an image topic'),
        ((monday, out, *mmseg, '--name', 'rear'), '--name rear: must be TOPIC=NAME'),
        ((monday, out, *mmseg, *2 * ('--name', f'{TOPIC}=rear')), 'each topic given once'),
        ((monday, out, *mmseg, '--name', f'{TOPIC}=rear'), None),
    ]
    for words, text in cases:
        code = export(*words)
        said = capsys.readouterr().err
        if text is None:  # one camera and one label topic need no names
            assert code == 0
            continue
        assert (code, said.count('\n')) == (1, 1), said
        assert text in said
        assert not list(tmp_path.glob('new*'))


def test_classes_that_a_format_cannot_name(run_quickly, tmp_path, capsys, monkeypatch):
    source = drive(tmp_path / 'in')
    monkeypatch.setattr('quick_model.ARGUMENTS', ['--prompts', 'sign: stop', 'grass'])
    assert run_quickly('bag', source, tmp_path / 'labelled', '--copy', TOPIC) == 0
    assert export(tmp_path / 'labelled', tmp_path / 'new', '--format', 'voc') == 1
    assert "'sign: stop' cannot stand in labelmap.txt" in capsys.readouterr().err
    assert export(tmp_path / 'labelled', tmp_path / 'new', '--format', 'mmseg') == 0
