# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The layouts of the benchmarks: what is read, what labels mean, and what is refused first."""

import dataclasses
import shutil

import numpy as np
import pytest
from miniature_data import DATA
from PIL import Image

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core import weights
from clip_dinoiser_ros.evaluation.benchmarks import BENCHMARKS, meaning, open_benchmark
from clip_dinoiser_ros.evaluation.items import FileSource
from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS
from clip_dinoiser_ros.evaluation.samples import DataError

# value of a label image -> class; of all other values none
MEANINGS = {
    'voc': {0: 0, 1: 1, 20: 20, 21: NO_CLASS, 255: IGNORED},
    'voc20': {0: IGNORED, 1: 0, 20: 19, 21: NO_CLASS, 255: IGNORED},
    'context': {0: 0, 1: 1, 59: 59, 60: NO_CLASS, 255: IGNORED},
    'context59': {0: IGNORED, 1: 0, 59: 58, 60: NO_CLASS, 255: IGNORED},
    'coco_object': {0: 0, 1: 1, 80: 80, 81: NO_CLASS, 255: IGNORED},
    'coco_stuff': {0: 0, 170: 170, 171: NO_CLASS, 255: IGNORED},
    'cityscapes': {0: 0, 18: 18, 19: NO_CLASS, 255: IGNORED},
    'ade20k': {0: IGNORED, 1: 0, 150: 149, 151: NO_CLASS, 255: IGNORED},
}
CLASSES = dict(zip(BENCHMARKS, (21, 20, 60, 59, 81, 171, 19, 150), strict=True))
# what must be there, in the order in which it is looked for
PATHS = {
    'voc': (
        'VOCdevkit',
        'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt',
        'VOCdevkit/VOC2012/JPEGImages',
        'VOCdevkit/VOC2012/SegmentationClass',
        'VOCdevkit/VOC2012/JPEGImages/2007_009075.jpg',
        'VOCdevkit/VOC2012/SegmentationClass/2009_000011.png',
    ),
    'context59': (
        'VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt',
        'VOCdevkit/VOC2010/SegmentationClassContext',
    ),
    'coco_object': (
        'coco_stuff164k',
        'coco_stuff164k/images/val2017',
        'coco_stuff164k/annotations/val2017',
        'coco_stuff164k/annotations/val2017/000000033418_instanceTrainIds.png',
    ),
    'cityscapes': (
        'cityscapes/leftImg8bit/val',
        'cityscapes/gtFine/val/lindau',
        'cityscapes/gtFine/val/munster/munster_000123_000017_gtFine_labelTrainIds.png',
    ),
    'ade20k': (
        'ADEChallengeData2016/images',
        'ADEChallengeData2016/annotations/validation/ADE_val_00000090.png',
    ),
}


@pytest.mark.parametrize('name', BENCHMARKS)
def test_label_values_of_each_data_set(name):
    table = meaning(BENCHMARKS[name])
    for value, expected in MEANINGS[name].items():
        assert table[value] == expected, value
    classes = table[(table != IGNORED) & (table != NO_CLASS)]
    assert sorted(classes.tolist()) == list(range(CLASSES[name]))


def test_the_filter_is_on_where_the_paper_applies_it():
    filtered = {name for name in BENCHMARKS if open_benchmark(name, DATA).filtered}
    assert filtered == {'voc', 'coco_object'}
    with_background = {
        name for name in BENCHMARKS if open_benchmark(name, DATA).background is not None
    }
    assert with_background == {'voc', 'coco_object', 'context'}


def test_images_keep_the_order_of_the_split_or_are_sorted():
    voc = [sample.name for sample in open_benchmark('voc', DATA).samples]
    assert voc == ['2007_009075', '2008_007364', '2009_000011', '2007_000185']
    cities = [sample.image.parent.name for sample in open_benchmark('cityscapes', DATA).samples]
    assert cities == ['frankfurt', 'lindau', 'munster']
    assert len(open_benchmark('ade20k', DATA, limit=2).samples) == 2


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError('a model was loaded')

    monkeypatch.setattr(weights, 'load_frozen', refuse)
    monkeypatch.setattr(weights, 'load_heads', refuse)


@pytest.mark.parametrize(
    ('name', 'path'), [(name, path) for name, paths in PATHS.items() for path in paths]
)
def test_the_first_missing_path_is_named_before_a_model_is_loaded(
    name, path, tmp_path, capsys, nothing_is_loaded
):
    data = tmp_path / 'data'
    shutil.copytree(DATA, data)
    gone = data / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert main(['evaluate', name, '--data', str(data)]) == 1
    said = capsys.readouterr().err
    # what lies in a folder that is gone is missing too: the folder is named
    assert f'clip-dinoiser evaluate: {gone} is missing' in said
    if 'TrainIds' in path:
        assert f'clip-dinoiser data {name.replace("_", "-")} DIR' in said


def test_a_missing_folder_of_all_data_is_named(tmp_path, capsys, nothing_is_loaded):
    assert main(['evaluate', 'voc', '--data', str(tmp_path / 'no/data')]) == 1
    assert f'{tmp_path / "no"} is missing' in capsys.readouterr().err


@pytest.mark.parametrize('empty', ['split', 'images'])
def test_an_empty_data_set_is_refused(tmp_path, empty):
    shutil.copytree(DATA, tmp_path / 'data')
    if empty == 'split':
        split = tmp_path / 'data/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'
        split.write_text('\n \n')
        with pytest.raises(DataError, match=r'val\.txt lists no images'):
            open_benchmark('voc', tmp_path / 'data')
        return
    folder = tmp_path / 'data/ADEChallengeData2016/images/validation'
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r'validation and its subfolders contain no \*\.jpg'):
        open_benchmark('ade20k', tmp_path / 'data')


def test_palette_images_are_read_as_indices():
    data = open_benchmark('voc', DATA)
    with Image.open(data.samples[0].labels) as file:
        assert file.mode == 'P'
        expected = np.asarray(file).astype(int)
    _, truth, _ = data.read(data.samples[0])
    np.testing.assert_array_equal(truth, np.where(expected == 255, IGNORED, expected))


def test_images_are_read_no_further_ahead_than_needed():
    """So memory does not grow with the number of images."""
    voc = open_benchmark('voc', DATA)
    many = dataclasses.replace(voc, samples=list(voc.samples) * 25)
    read = []

    class Watched(FileSource):
        def _read(self, number, prepare):
            read.append(number)
            return super()._read(number, prepare)

    source = Watched(many, workers=2, ahead=4)
    assert source.total == 100
    items = source.items(10, lambda image: image.shape)
    for number in range(10, 30):
        item = next(items)
        assert item.name == many.samples[number].name
        assert item.prepared == item.image.shape
        assert max(read) <= number + 5
    items.close()
    assert sorted(read) == list(range(10, len(read) + 10))
    assert [item.name for item in source.pick([7, 2], lambda _: None)] == [
        many.samples[2].name,
        many.samples[7].name,
    ]
