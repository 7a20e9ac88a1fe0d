# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""One's own images and recordings, by the paper's protocol and by a node's settings."""

import json

import numpy as np
import pytest
from PIL import Image

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.edges import refine
from clip_dinoiser_ros.core.smoothing import Smoothing
from clip_dinoiser_ros.demo.record import IMAGE, TRUTH, TRUTH_INFO, write_drive
from clip_dinoiser_ros.evaluation.folder import open_folder
from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS, Counts
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.training.demo_model.files import GAMMA
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.scenes import drive, scene

DEMO = ('--model', 'demo', '--device', 'cpu', '--gamma', str(GAMMA), '--templates', 'none')
PROMPTS = ('background', 'red ball', 'blue barrel', 'person', 'orange cone')


def result_of(out):
    return json.loads((out / 'result.json').read_text())


@pytest.fixture(scope='module')
def scenes():
    return [scene(seed, 160, 120) for seed in (910_001, 910_002, 910_003)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, scenes):
    """Labelled images of the generated world, its classes as ids."""
    root = tmp_path_factory.mktemp('own')
    for index, shown in enumerate(scenes):
        for kind, pixels in (('images', shown.image), ('labels', shown.labels)):
            place = root / kind / ('deep/er' if index == 2 else '.')
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f'{index}.png')
    Image.fromarray(scenes[0].image).save(root / 'images/without labels.png')
    rows = ''.join(f'{number},{name}\n' for number, name in enumerate(CLASSES))
    (root / 'classes.csv').write_text('id,prompt\n' + rows)
    return root


def arguments(folder, out, *more):
    return [
        *('evaluate', 'folder', '--images', str(folder / 'images')),
        *('--labels', str(folder / 'labels'), '--classes', str(folder / 'classes.csv')),
        *('--out', str(out), *DEMO, *more),
    ]


def test_the_paper_protocol_on_ones_own_images(folder, tmp_path):
    assert main(arguments(folder, tmp_path, '--save-labels')) == 0
    result = result_of(tmp_path)
    assert result['images'] == 3
    assert result['background'] == 'none'  # no class is called background
    assert result['miou'] > 30  # of 54 classes of the world, in images of 160x120
    assert (tmp_path / 'labels/deep/er/2.png').exists()


def test_the_node_protocol_is_what_a_segmenter_gives(folder, scenes, tmp_path):
    options = ('--protocol', 'node', '--short-side', '224', '--min-confidence', '0.4')
    assert main(arguments(folder, tmp_path, *options, '--save-labels')) == 0
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32', short_side=224)
    vocabulary = segmenter.encode(CLASSES, None, 'none')
    expected = Counts.zero(len(CLASSES))
    for name, shown in zip(('0', '1', 'deep/er/2'), scenes, strict=True):
        result = segmenter.segment(shown.image, vocabulary, gamma=GAMMA)
        labels = result.labels.astype(np.uint16)
        labels[result.confidence < 0.4] = NO_CLASS
        saved = np.asarray(Image.open(tmp_path / f'labels/{name}.png'))
        np.testing.assert_array_equal(saved, np.where(labels == NO_CLASS, 255, labels))
        assert 0 < (saved == 255).mean() < 0.5
        expected += Counts.of(shown.labels.astype(np.uint16), labels, len(CLASSES))
    found = result_of(tmp_path)
    assert found['intersect'] == expected.intersect.tolist()
    assert found['union'] == expected.union.tolist()
    # a pixel without a label is right for no class, but its true class misses it
    assert sum(found['labelled']) == found['pixels'] > sum(found['predicted'])


@pytest.mark.parametrize('mode', ['off', 'fast', 'fine'])
def test_edges_are_those_of_a_segmenter(mode, folder, scenes, tmp_path):
    options = ('--protocol', 'node', '--short-side', '224', '--limit', '1', '--edges', mode)
    assert main(arguments(folder, tmp_path, *options, '--save-labels')) == 0
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32', short_side=224)
    vocabulary = segmenter.encode(CLASSES, None, 'none')
    expected = segmenter.segment(scenes[0].image, vocabulary, gamma=GAMMA, edges=mode).labels
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'labels/0.png')), expected)
    plain = segmenter.segment(scenes[0].image, vocabulary, gamma=GAMMA).labels
    assert (mode == 'off') == np.array_equal(plain, expected)
    assert result_of(tmp_path)['settings']['edges'] == mode


def test_negative_prompts_take_pixels_from_the_classes(folder, tmp_path):
    def found(name, *more):
        options = ('--protocol', 'node', '--short-side', '224', *more)
        assert main(arguments(folder, tmp_path / name, *options)) == 0
        return sum(result_of(tmp_path / name)['predicted'])

    # the same words as classes of the world, in another case of plural: they compete
    assert found('with', '--negative-prompts', 'floors', 'walls', 'skies') <= found('without')


def test_labels_as_colours_say_the_same_as_ids(folder, scenes, tmp_path):
    rng = np.random.default_rng(3)
    colours = rng.choice(256**3, len(CLASSES), replace=False)
    table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    for index, shown in enumerate(scenes):
        place = tmp_path / 'labels' / ('deep/er' if index == 2 else '.')
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(table[shown.labels]).save(place / f'{index}.png')
    rows = [f'{name},{r},{g},{b}' for name, (r, g, b) in zip(CLASSES, table, strict=True)]
    (tmp_path / 'colours.csv').write_text('\n'.join(['prompt,red,green,blue', *rows]))
    by_colour = open_folder(folder / 'images', tmp_path / 'labels', tmp_path / 'colours.csv')
    by_id = open_folder(folder / 'images', folder / 'labels', folder / 'classes.csv')
    assert by_colour.prompts == by_id.prompts
    for left, right in zip(by_colour.samples, by_id.samples, strict=True):
        np.testing.assert_array_equal(by_colour.read(left)[1], by_id.read(right)[1])


def test_forms_of_a_class_table(tmp_path):
    labels = np.array([[0, 1, 2, 7, 9, 255]], np.uint8)
    for kind, pixels in (('images', np.zeros((1, 6, 3), np.uint8)), ('labels', labels)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / 'a.png')
    table = tmp_path / 'classes.csv'
    table.write_text('id, prompt\n0, background\n1, car|vehicle\n7, car|vehicle\n2,\n')
    data = open_folder(tmp_path / 'images', tmp_path / 'labels', table)
    assert data.prompts == ('background', 'car|vehicle')
    assert data.background == 0
    assert data.filtered
    _, truth, odd = data.read(data.samples[0])
    assert truth.tolist() == [[0, 1, IGNORED, 1, NO_CLASS, IGNORED]]
    assert odd.endswith('labels/a.png: 1 pixels have unknown values: 9')
    table.write_text('red,green,blue,prompt\n0,0,0,car\n1,1,1,\n')
    data = open_folder(tmp_path / 'images', tmp_path / 'labels', table)
    _, truth, odd = data.read(data.samples[0])
    assert truth.tolist() == [[0, IGNORED, *[NO_CLASS] * 4]]
    assert odd.endswith(
        '4 pixels have unknown values: (2, 2, 2), (7, 7, 7), (9, 9, 9), (255, 255, 255)'
    )


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('', 'the first line must name the columns prompt, and id or red, green, blue'),
        ('id\n1\n', 'found: id'),
        ('id,prompt\n', 'lists no classes'),
        ('id,prompt\n1,\n', 'lists no classes'),
        ('id,prompt\nx,car\n', r"line 2: id is 'x'; must be between 0 and 65533"),
        ('id,prompt\n-1,car\n', r"line 2: id is '-1'"),
        ('id,prompt\n1,car\n1,bus\n', 'line 3: 1 is given twice'),
        (
            'red,green,blue,prompt\n1,2,256,car\n',
            r"line 2: blue is '256'; must be between 0 and 255",
        ),
        ('red,green,blue,prompt\n1,2,3,car\n1,2,3,bus\n', r'line 3: \(1, 2, 3\) is given twice'),
        ('id,prompt\n1,car\n2,CAR\n', "'CAR' is given as 'car' too; names must be unique"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(content, said, folder, tmp_path):
    (tmp_path / 'classes.csv').write_text(content)
    with pytest.raises(ValueError, match=said):
        open_folder(folder / 'images', folder / 'labels', tmp_path / 'classes.csv')


def test_how_to_ignore_unknown_labels_is_said_and_right(folder, tmp_path, capsys):
    classes = tmp_path / 'classes.csv'
    rows = (folder / 'classes.csv').read_text().splitlines()
    classes.write_text('\n'.join(rows[:-1]) + '\n')
    given = [*arguments(folder, tmp_path / 'out'), '--classes', str(classes)]
    assert main(given) == 3
    hint = 'images have unknown labels (a row of --classes without a prompt ignores a value):'
    assert hint in capsys.readouterr().err
    without_prompt = rows[-1].split(',')[0] + ',\n'
    classes.write_text('\n'.join(rows[:-1]) + '\n' + without_prompt)
    assert main([*given, '--force']) == 0
    assert 'unknown labels' not in capsys.readouterr().err


def test_an_odd_folder_is_refused(folder, tmp_path):
    classes = folder / 'classes.csv'
    with pytest.raises(DataError, match='no is missing'):
        open_folder(tmp_path / 'no', folder / 'labels', classes)
    (tmp_path / 'labels').mkdir()
    with pytest.raises(DataError, match=r'labels and its subfolders contain no \*\.png'):
        open_folder(folder / 'images', tmp_path / 'labels', classes)
    Image.new('L', (4, 4)).save(tmp_path / 'labels/a.png')
    with pytest.raises(DataError, match=r'a is missing, the image of .*labels/a\.png'):
        open_folder(folder / 'images', tmp_path / 'labels', classes)
    for name in ('a.jpg', 'a.png'):
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(DataError, match='which is the image of'):
        open_folder(tmp_path, tmp_path / 'labels', classes)


def test_images_and_labels_may_lie_side_by_side(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.jpg')
    Image.new('L', (4, 4)).save(tmp_path / 'a_labels.png')
    (tmp_path / 'classes.csv').write_text('id,prompt\n0,car\n')
    data = open_folder(tmp_path, tmp_path, tmp_path / 'classes.csv', '_labels.png')
    assert [(s.name, s.image.name, s.labels.name) for s in data.samples] == [
        ('a', 'a.jpg', 'a_labels.png')
    ]


# Recordings


@pytest.fixture(scope='module')
def frames():
    return list(drive(3, seconds=0.6, rate_hz=10.0, width=160, height=120))


@pytest.fixture(scope='module')
def bag(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp('bag') / 'drive.mcap'
    write_drive(path, frames)
    return path


def bag_arguments(bag, out, *more):
    return ['evaluate', 'bag', str(bag), '--truth', TRUTH, '--out', str(out), *DEMO, *more]


def truth_of(shown):
    index = {name: number for number, name in enumerate(PROMPTS)}
    return np.array([index.get(name, 0) for name in CLASSES], np.uint16)[shown.labels]


@pytest.mark.parametrize(('smoothing', 'mode'), [(0.0, 'off'), (0.5, 'off'), (0.5, 'fast')])
def test_a_recording_as_a_node_would_segment_it(smoothing, mode, bag, frames, tmp_path):
    options = ('--protocol', 'node', '--short-side', '224', '--prompts', *PROMPTS)
    command = bag_arguments(bag, tmp_path, *options, '--smoothing', str(smoothing))
    command += ['--edges', mode]
    assert main(command) == 0
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32', short_side=224)
    vocabulary = segmenter.encode(PROMPTS, templates='none')
    smoother, expected = Smoothing(), Counts.zero(len(PROMPTS))
    for shown in frames:
        (patches,) = segmenter.segment_patches([shown.image], vocabulary, GAMMA)
        patches = smoother.smooth('camera', round(1e9 * shown.stamp_s), patches, smoothing)
        patches = refine(patches, shown.image, mode)
        labels = patches.enlarge(shown.labels.shape).labels.astype(np.uint16)
        expected += Counts.of(truth_of(shown), labels, len(PROMPTS))
    result = result_of(tmp_path)
    assert result['images'] == len(frames) == 6
    assert result['background'] == 'learned'
    assert result['intersect'] == expected.intersect.tolist()
    assert result['union'] == expected.union.tolist()


def test_a_recording_by_the_paper_protocol_with_the_names_of_its_label_info(bag, tmp_path):
    assert main(bag_arguments(bag, tmp_path, '--limit', '2')) == 0
    result = result_of(tmp_path)
    assert result['classes'] == list(CLASSES)
    assert result['images'] == 2
    assert (tmp_path / 'page.html').exists()
    assert main(bag_arguments(bag, tmp_path, '--limit', '2', '--resume')) == 0
    assert result_of(tmp_path)['intersect'] == result['intersect']


def test_a_table_of_ids_instead_of_a_label_info(bag, frames, tmp_path):
    from clip_dinoiser_ros.bag.partial import PartialBag
    from clip_dinoiser_ros.bag.recording import Recording

    table = tmp_path / 'classes.csv'
    rows = ''.join(f'{CLASSES.index(name)},{name}\n' for name in PROMPTS[1:])
    table.write_text('id,prompt\n' + rows)
    bare = tmp_path / 'bare.mcap'
    with Recording(bag) as source, PartialBag(bare, 'mcap', {}, False, False) as target:
        for message in source.messages([IMAGE, TRUTH]):
            target.write(message)
        target.close()
        target.finish()
    out = tmp_path / 'out'
    with pytest.raises(SystemExit):
        main(['evaluate', 'bag', str(bare)])
    assert main(bag_arguments(bare, out)) == 1
    command = bag_arguments(bare, out, '--classes', str(table), '--limit', '1')
    assert main(command) == 3  # all other ids are no class
    result = result_of(out)
    assert result['classes'] == list(PROMPTS[1:])
    assert result['odd']['count'] == 1
    truth = truth_of(frames[0])
    assert result['labelled'] == np.bincount(truth.ravel(), minlength=5)[1:].tolist()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--truth', '/no'), '--truth /no is not an image topic; image topics: '),
        (('--topic', '/no'), '/no is not an image topic of the bag'),
        (('--prompts', 'car', 'car'), "'car' is given twice"),
        (('--min-confidence', '0.5'), '--min-confidence needs --protocol node'),
        (('--edges', 'fast'), '--edges needs --protocol node'),
        (('--smoothing', '0.5'), '--smoothing needs --protocol node'),
        (
            ('--protocol', 'node', '--smoothing', '1'),
            '--smoothing is 1.0; must be between 0 and 0.99',
        ),
        (('--protocol', 'node', '--method', 'clip-keys'), 'the node has the methods dinoiser, '),
        (('--protocol', 'node', '--smoothing', '0.5', '--resume'), 'needs all earlier frames'),
    ],
)
def test_recordings_that_cannot_be_evaluated(options, said, bag, tmp_path, capsys):
    assert main(bag_arguments(bag, tmp_path / 'out', *options)) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'out/result.json').exists()


def test_frames_without_truth_are_left_out_and_damage_is_named(bag, tmp_path, capsys):
    from clip_dinoiser_ros.bag.partial import PartialBag
    from clip_dinoiser_ros.bag.recording import Message, Recording

    thin = tmp_path / 'thin.mcap'
    with Recording(bag) as source, PartialBag(thin, 'mcap', {}, False, False) as target:
        number = 0
        for message in source.messages([IMAGE, TRUTH, TRUTH_INFO]):
            number += message.topic.name == IMAGE
            if message.topic.name == TRUTH and number % 2:
                continue
            data = message.data
            if message.topic.name == TRUTH and number == 4:
                data = data[: len(data) // 2]
            target.write(Message(message.topic, message.time_ns, data))
        target.close()
        target.finish()
    for out, more in (('a', ()), ('b', ('--protocol', 'node', '--smoothing', '0.5'))):
        assert main(bag_arguments(thin, tmp_path / out, *more)) == 3
        assert '1 images were left out' in capsys.readouterr().err
        assert result_of(tmp_path / out)['images'] == 2
