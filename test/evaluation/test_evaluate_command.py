# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate` from outside: what it writes, refuses, names, and continues."""

import csv
import html.parser
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from miniature_data import DATA
from PIL import Image

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core import weights
from clip_dinoiser_ros.fleet import cluster_arguments

# of an evaluation: all that does not depend on how fast it ran, and when
CHANGING = ('images_per_second', 'finished')


def evaluate(data, out, small_arguments, *more):
    return main(['evaluate', *data, '--out', str(out), *small_arguments, *more])


VOC = ('voc', '--data', str(DATA))


def result_of(out):
    content = json.loads((out / 'result.json').read_text())
    return {key: value for key, value in content.items() if key not in CHANGING}


def test_files_of_an_evaluation(tmp_path, small_arguments, capsys):
    out = tmp_path / 'out'
    assert evaluate(VOC, out, small_arguments, '--save-labels') == 0
    content = json.loads((out / 'result.json').read_text())
    assert (content['method'], content['background']) == ('dinoiser', 'learned')
    assert content['images'] == 4
    assert content['images_per_second'] > 0
    assert len(content['classes']) == len(content['intersect']) == len(content['union']) == 21
    assert all(isinstance(n, int) for n in content['intersect'] + content['union'])
    ious = [100 * i / u for i, u in zip(content['intersect'], content['union'], strict=True) if u]
    assert content['miou'] == pytest.approx(sum(ious) / len(ious))
    assert content['accuracy'] == pytest.approx(100 * sum(content['intersect']) / content['pixels'])
    assert content['weights'].keys() == {'clip', 'heads'}
    assert content['data']['name'] == 'voc'
    assert content['settings']['gamma'] == 0.2
    assert content['edges'].keys() == {'1', '2', '4', '8', '16'}
    assert content['left_out'] == content['odd'] == {'count': 0, 'first': []}

    with (out / 'classes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == content['classes']
    assert [int(row['union']) for row in rows] == content['union']

    table = (out / 'table.md').read_text()
    assert f'| mIoU | {content["miou"]:.2f} % |' in table
    assert table.strip() == capsys.readouterr().out.strip()
    there = [n for n, union in zip(content['classes'], content['union'], strict=True) if union]
    listed = table.split('| class |')[1].splitlines()[2:]
    assert [line.split(' | ')[0].removeprefix('| ') for line in listed if line] == there

    # the labels are those that were counted
    predicted = np.zeros(21, int)
    for sample in ('2007_009075', '2008_007364', '2009_000011', '2007_000185'):
        labels = np.asarray(Image.open(out / f'labels/{sample}.png'))
        truth = np.asarray(Image.open(DATA / f'VOCdevkit/VOC2012/SegmentationClass/{sample}.png'))
        predicted += np.bincount(labels[truth != 255], minlength=21)
    assert predicted.tolist() == content['predicted']
    images = [json.loads(line) for line in (out / 'images.jsonl').read_text().splitlines()]
    assert [line['image'] for line in images[1:]] == [
        '2007_009075',
        '2008_007364',
        '2009_000011',
        '2007_000185',
    ]


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ('src', 'href')]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_the_images_and_needs_nothing_else(tmp_path, small_arguments):
    assert evaluate(VOC, tmp_path, small_arguments) == 0
    page = Page()
    page.feed((tmp_path / 'page.html').read_text())
    assert page.tags.count('img') == 4 * 4  # image, truth, prediction and errors of each
    assert all(source.startswith('data:image/') for source in page.sources)
    assert not {'script', 'link', 'iframe'} & set(page.tags)
    text = ' '.join(page.text)
    assert '2007_009075' in text
    assert 'Worst images' in text
    assert 'aeroplane' in text or 'background' in text


def test_a_name_is_no_markup(tmp_path, small_arguments):
    for kind, image in (('images', np.zeros((32, 32, 3))), ('labels', np.zeros((32, 32)))):
        (tmp_path / kind).mkdir()
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / kind / '<b>&.png')
    (tmp_path / 'classes.csv').write_text('id,prompt\n0,<i>wall\n1,floor\n')
    folder = ('folder', '--images', str(tmp_path / 'images'), '--labels', str(tmp_path / 'labels'))
    classes = ('--classes', str(tmp_path / 'classes.csv'))
    assert evaluate((*folder, *classes), tmp_path / 'out', small_arguments) == 0
    text = (tmp_path / 'out/page.html').read_text()
    assert '<b>' not in text
    assert '<i>' not in text
    assert '&lt;b&gt;&amp;' in text


def test_without_out_nothing_is_written(tmp_path, small_arguments, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', *VOC, *small_arguments, '--limit', '1']) == 0
    assert '| data | voc, 1 images |' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_labels_of_many_classes_have_16_bits(tmp_path, small_arguments):
    for kind in ('images', 'labels'):
        (tmp_path / kind).mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'images/a.jpg')
    Image.fromarray(rng.integers(0, 300, (64, 64)).astype(np.uint16)).save(
        tmp_path / 'labels/a.png'
    )
    rows = ''.join(f'{number},thing {number}\n' for number in range(300))
    (tmp_path / 'classes.csv').write_text('id,prompt\n' + rows)
    folder = ('folder', '--images', str(tmp_path / 'images'), '--labels', str(tmp_path / 'labels'))
    classes = ('--classes', str(tmp_path / 'classes.csv'))
    out = tmp_path / 'out'
    assert evaluate((*folder, *classes), out, small_arguments, '--save-labels') == 0
    labels = np.asarray(Image.open(out / 'labels/a.png'))
    assert labels.dtype == np.uint16 or Image.open(out / 'labels/a.png').mode.startswith('I')
    assert labels.shape == (64, 64)
    assert labels.max() < 300
    counts = np.bincount(labels.ravel(), minlength=300)
    assert counts.tolist() == result_of(out)['predicted']


@pytest.fixture
def damaged(tmp_path):
    """Four images: one whole, one with labels of another size, one cut off, one with odd values."""
    shutil.copytree(DATA, tmp_path / 'data')
    folder = tmp_path / 'data/VOCdevkit/VOC2012'
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / 'SegmentationClass/2008_007364.png')
    cut = folder / 'SegmentationClass/2009_000011.png'
    cut.write_bytes(cut.read_bytes()[:-200])
    odd = folder / 'SegmentationClass/2007_000185.png'
    labels = np.zeros((150, 150), np.uint8)
    labels[:2, :3] = 77
    Image.fromarray(labels).save(odd)
    return tmp_path / 'data'


def test_odd_label_images_are_named_and_counted_and_the_exit_code_says_so(
    damaged, tmp_path, small_arguments, capsys
):
    out = tmp_path / 'out'
    assert evaluate(('voc', '--data', str(damaged)), out, small_arguments) == 3
    said = capsys.readouterr().err
    folder = damaged / 'VOCdevkit/VOC2012/SegmentationClass'
    assert '2 images were left out:' in said
    assert f'{folder}/2008_007364.png has 7x5 pixels, its image 110x166' in said
    assert f'{folder}/2009_000011.png: ' in said
    assert '1 images have unknown labels:' in said
    assert f'{folder}/2007_000185.png: 6 pixels have unknown values: 77' in said
    content = result_of(out)
    assert content['images'] == 2
    assert content['left_out']['count'] == 2
    assert content['odd']['count'] == 1
    # pixels of no class are in nobody's label count, but what is predicted there counts
    whole = np.asarray(Image.open(folder / '2007_009075.png'))
    pixels = 150 * 150 + int((whole != 255).sum())
    assert content['pixels'] == pixels
    assert sum(content['labelled']) == pixels - 6
    assert sum(content['predicted']) == pixels


@pytest.mark.parametrize('kind', ['empty', 'no image', 'cut off'])
def test_an_image_that_cannot_be_read_is_named(kind, tmp_path, small_arguments, capsys):
    shutil.copytree(DATA, tmp_path / 'data')
    file = tmp_path / 'data/VOCdevkit/VOC2012/JPEGImages/2008_007364.jpg'
    content = {'empty': b'', 'no image': b'text', 'cut off': file.read_bytes()[:-999]}[kind]
    file.write_bytes(content)
    assert evaluate(('voc', '--data', str(tmp_path / 'data')), tmp_path / 'o', small_arguments) == 3
    assert f'{file}: ' in capsys.readouterr().err
    assert result_of(tmp_path / 'o')['images'] == 3


def test_when_nothing_can_be_read_there_is_no_result(tmp_path, small_arguments, capsys):
    shutil.copytree(DATA, tmp_path / 'data')
    for file in (tmp_path / 'data/VOCdevkit/VOC2012/JPEGImages').iterdir():
        file.write_bytes(b'')
    assert evaluate(('voc', '--data', str(tmp_path / 'data')), tmp_path / 'o', small_arguments) == 1
    assert 'no image could be evaluated' in capsys.readouterr().err
    assert not (tmp_path / 'o/result.json').exists()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--gamma', '1.5'), '--gamma is 1.5; must be between 0 and 0.99'),
        (('--delta', '-1'), '--delta is -1.0; must be between 0 and 1'),
        (('--limit', '0'), '--limit is 0; must be at least 1'),
        (('--batch', '0'), '--batch is 0; must be at least 1'),
        (('--workers', '0'), '--workers is 0; must be at least 1'),
        (('--denoising', '0.5'), '--denoising needs --method maskclip-keys'),
        (('--projected-keys',), '--projected-keys needs --method clip-keys'),
        (('--save-labels',), '--save-labels needs --out DIR'),
        (('--resume',), '--resume needs --out DIR'),
        (('--background', 'found'), '--background found needs --found FILE'),
        (('--background', 'found', '--found', 'no.pt'), "'no.pt' is not a file"),
        (('--dino-base', 'no.pth'), "'no.pth' is not a file"),
        (('--device', 'tpu'), "device 'tpu' is not known"),
    ],
)
def test_nonsense_is_refused_before_a_model_is_loaded(options, said, capsys, monkeypatch):
    monkeypatch.setattr(weights, 'load_frozen', None)
    assert main(['evaluate', *VOC, *options]) == 1
    assert said in capsys.readouterr().err


def test_a_filter_without_a_background_class_is_refused(capsys):
    assert main(['evaluate', 'voc20', '--data', str(DATA), '--background', 'learned']) == 1
    assert 'needs a class background' in capsys.readouterr().err


# Going on


def test_an_evaluation_is_not_replaced_by_accident(tmp_path, small_arguments, capsys):
    assert evaluate(VOC, tmp_path, small_arguments, '--limit', '1') == 0
    assert evaluate(VOC, tmp_path, small_arguments, '--limit', '1') == 1
    assert '--resume continues that evaluation, --force replaces it' in capsys.readouterr().err
    assert evaluate(VOC, tmp_path, small_arguments, '--limit', '2', '--resume') == 1
    assert 'limit was 1, now it is 2' in capsys.readouterr().err
    assert evaluate(VOC, tmp_path, small_arguments, '--limit', '2', '--force') == 0
    assert result_of(tmp_path)['images'] == 2


@pytest.mark.parametrize(
    'cut',
    [pytest.param(0, marks=pytest.mark.long), 1, pytest.param(400, marks=pytest.mark.long), 1100],
)
def test_evaluation_resumes_anywhere_to_the_same_result(cut, tmp_path, small_arguments):
    whole = tmp_path / 'whole'
    assert evaluate(VOC, whole, small_arguments) == 0
    lines = (whole / 'images.jsonl').read_bytes()
    assert len(lines) > cut
    again = tmp_path / 'again'
    again.mkdir()
    (again / 'images.jsonl').write_bytes(lines[:-cut] if cut else lines)
    assert evaluate(VOC, again, small_arguments, '--resume') == 0
    assert result_of(again) == result_of(whole)
    left, right = (
        [json.loads(line) for line in (out / 'images.jsonl').read_text().splitlines()]
        for out in (whole, again)
    )
    for line in (*left, *right):
        line.pop('seconds', None)
    assert left == right


@pytest.mark.long
def test_evaluation_resumes_after_a_kill(tmp_path, small_arguments):
    data, out = tmp_path / 'data', tmp_path / 'out'
    shutil.copytree(DATA, data)
    split = data / 'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'
    split.write_text(split.read_text() * 12)
    command = ['evaluate', 'voc', '--data', str(data), *small_arguments]
    run = [sys.executable, '-m', 'clip_dinoiser_ros.cli', *command, '--out', str(out)]
    process = subprocess.Popen(run, env=os.environ, stderr=subprocess.DEVNULL)
    journal = out / 'images.jsonl'
    try:
        while not journal.exists() or journal.read_bytes().count(b'\n') < 5:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = journal.read_bytes().count(b'\n') - 1
    assert 4 <= done < 48
    assert not (out / 'result.json').exists()
    assert main([*command, '--out', str(out), '--resume']) == 0
    assert main([*command, '--out', str(tmp_path / 'whole')]) == 0
    assert result_of(out) == result_of(tmp_path / 'whole')


def test_two_at_once_do_not_mix(tmp_path, small_arguments, capsys):
    from clip_dinoiser_ros.evaluation.journal import Journal

    with Journal(tmp_path, {}, 3, resume=False):
        assert evaluate(VOC, tmp_path, small_arguments) == 1
    assert 'is being written by another process' in capsys.readouterr().err


def test_batches_and_workers_change_nothing(tmp_path, small_arguments):
    assert evaluate(VOC, tmp_path / 'a', small_arguments) == 0
    assert evaluate(VOC, tmp_path / 'b', small_arguments, '--batch', '3', '--workers', '1') == 0
    a, b = (result_of(tmp_path / name) for name in 'ab')
    assert np.abs(np.subtract(a['predicted'], b['predicted'])).sum() <= 2 * 20


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (['--actors', '0'], '--actors is 0; must be at least 1'),
        (['--actors', '2', '--cpus', '0'], '--cpus is 0; must be at least 1'),
        (['--actors', '2', '--gpus', '1.5'], '--gpus is 1.5; must be 0 to 1, or a whole number'),
        (['--actors', '2', '--gpus', '-1'], '--gpus is -1.0; must be 0 to 1, or a whole number'),
        (['--gpus', '1'], '--cpus, --gpus and --dashboard need --actors N or --address HOST:PORT'),
        (['--cpus', '8'], '--cpus, --gpus and --dashboard need --actors N or --address HOST:PORT'),
        (['--actors', '2'], 'this needs Ray: pip install ray'),
        (['--address', '127.0.0.1:1'], 'this needs Ray: pip install ray'),
    ],
)
def test_actors_that_cannot_be(given, said, tmp_path, small_arguments, capsys, monkeypatch):
    monkeypatch.setattr(cluster_arguments, 'find_spec', lambda name: None)
    assert evaluate(VOC, tmp_path / 'out', small_arguments, *given) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.fixture(scope='module')
def tower_folder(tmp_path_factory, small_arguments):
    """Return a folder as `clip-dinoiser quantize` writes it, whose tower is in float32."""
    pytest.importorskip('openvino')
    from clip_dinoiser_ros.core.engines.openvino_tower import build
    from clip_dinoiser_ros.core.engines.quantized import save_quantized

    files = dict(zip(small_arguments[::2], small_arguments[1::2], strict=True))
    clip, _ = weights.load_frozen(files['--model'], files['--pretrained'])
    folder = tmp_path_factory.mktemp('quantized')
    save_quantized(folder, build(clip.visual), clip.visual, {})
    return folder


@pytest.mark.parametrize('protocol', ['paper', 'node'])
def test_a_tower_from_quantize(protocol, tmp_path, small_arguments, tower_folder, monkeypatch):
    """The tower of the folder runs, and the record says which it was."""
    from clip_dinoiser_ros.core.engines import openvino_tower

    def not_from_the_folder(visual):
        raise AssertionError('the tower was built from the weights')

    folder = tmp_path / 'images'
    data = (*own_folder(folder), '--protocol', protocol)
    assert evaluate(data, tmp_path / 'exact', small_arguments) == 0
    monkeypatch.setattr(openvino_tower, 'build', not_from_the_folder)
    int8 = ('--precision', 'int8', '--quantized', str(tower_folder))
    assert evaluate(data, tmp_path / 'int8', small_arguments, *int8) == 0
    exact, found = result_of(tmp_path / 'exact'), result_of(tmp_path / 'int8')
    assert found['settings']['precision'] == 'int8'
    assert found['settings']['quantized'] == str(tower_folder)
    assert found['weights'].keys() == {'clip', 'heads', 'quantized'}
    assert found['pixels'] == exact['pixels']
    assert found['accuracy'] == pytest.approx(exact['accuracy'], abs=0.5)


def own_folder(folder):
    """Write two images of noise with true labels; return the arguments that name them."""
    chance = np.random.default_rng(3)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    for name in ('a', 'b'):
        Image.fromarray(chance.integers(0, 256, (448, 480, 3), np.uint8)).save(
            folder / f'images/{name}.png'
        )
        Image.fromarray(chance.integers(0, 2, (448, 480), np.uint8)).save(
            folder / f'labels/{name}.png'
        )
    (folder / 'classes.csv').write_text('id,prompt\n0,road\n1,grass\n')
    return (
        *('folder', '--images', str(folder / 'images'), '--labels', str(folder / 'labels')),
        *('--classes', str(folder / 'classes.csv')),
    )


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (('--precision', 'int8'), 'precision is int8 but quantized is not set'),
        (('--quantized', 'x'), "quantized is 'x' but precision is fp32"),
        (('--precision', 'int8', '--quantized', 'x', '--engine', 'torch'), 'needs engine openvino'),
        (
            ('--precision', 'int8', '--quantized', 'x', '--method', 'clip-keys'),
            '--method clip-keys needs --engine torch, which has no int8',
        ),
    ],
)
def test_options_that_int8_excludes(options, reason, tmp_path, monkeypatch, capsys):
    """Refused before anything is loaded."""
    monkeypatch.setattr(weights, 'load_frozen', lambda *files: pytest.fail('was loaded'))
    assert main(['evaluate', *VOC, '--out', str(tmp_path / 'out'), *options]) == 1
    assert reason in capsys.readouterr().err
