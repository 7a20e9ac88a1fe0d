# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser data`: the same label images as the authors' converters make."""

import shutil

import numpy as np
import pytest
from miniature_data import DATA
from PIL import Image

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.evaluation.conversion import CONVERSIONS

MADE = {
    'coco-object': ('coco_stuff164k', '_instanceTrainIds.png', 4),
    'coco-stuff': ('coco_stuff164k', '_labelTrainIds.png', 4),
    'cityscapes': ('cityscapes', '_labelTrainIds.png', 3),
}


@pytest.fixture
def official(tmp_path):
    """The data sets as they are downloaded: without the made label images."""
    shutil.copytree(DATA, tmp_path / 'data')
    for path in (tmp_path / 'data').rglob('*TrainIds.png'):
        path.unlink()
    return tmp_path / 'data'


@pytest.mark.parametrize('inside', [False, True])
@pytest.mark.parametrize('kind', CONVERSIONS)
def test_made_label_images_are_those_of_the_authors(kind, inside, official, capsys):
    folder, suffix, count = MADE[kind]
    before = {path for path in official.rglob('*') if path.is_file()}
    given = official / folder if inside else official
    assert main(['data', kind, str(given)]) == 0
    assert f'{count} of {count} label images made: *' in capsys.readouterr().err
    made = {path for path in official.rglob('*') if path.is_file()} - before
    assert len(made) == count
    for path in made:
        assert path.name.endswith(suffix)
        expected = np.asarray(Image.open(DATA / path.relative_to(official)))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    assert main(['data', kind, str(given)]) == 0  # again, beside what was made
    assert {path for path in official.rglob('*') if path.is_file()} == before | made


@pytest.mark.parametrize('kind', CONVERSIONS)
def test_all_values_against_the_published_tables(kind):
    """By other words: COCO-Stuff's gaps and Cityscapes' names, written out."""
    table, known = CONVERSIONS[kind].table()
    if kind == 'cityscapes':
        expected = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
        expected |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
        assert {v: int(table[v]) for v in range(256) if table[v] != 255} == expected
        assert np.flatnonzero(known).tolist() == list(range(34))
        return
    used = [v for v in range(256) if known[v]]
    assert len(used) == 80 + 91 + 1
    assert used[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert used[79:82] == [89, 91, 92]
    assert used[-2:] == [181, 255]
    if kind == 'coco-stuff':
        assert [int(table[v]) for v in used] == [*range(171), 255]
    else:
        assert [int(table[v]) for v in used] == [*range(1, 81), *[0] * 92]


def test_odd_label_images_are_left_out_named_and_counted(official, capsys):
    folder = official / 'coco_stuff164k/annotations/val2017'
    cut = folder / '000000023189.png'
    cut.write_bytes(cut.read_bytes()[:200])
    Image.fromarray(np.full((4, 4), 11, np.uint8)).save(folder / '000000033418.png')
    Image.fromarray(np.full((4, 4, 3), 11, np.uint8)).save(folder / '000000122745.png')
    assert main(['data', 'coco-stuff', str(official)]) == 3
    said = capsys.readouterr().err
    assert f'left out: {cut}: ' in said
    assert '000000033418.png has unknown ids: 11' in said
    assert (
        '000000122745.png: a label image has one value for each pixel, but this PNG is RGB' in said
    )
    assert '1 of 4 label images made' in said
    assert len(list(folder.glob('*_labelTrainIds.png'))) == 1
    assert not list(folder.glob('*.partial'))


@pytest.mark.parametrize('kind', CONVERSIONS)
def test_missing_data_are_named(kind, tmp_path, capsys):
    assert main(['data', kind, str(tmp_path / 'no')]) == 1
    assert f'{tmp_path / "no"} is missing' in capsys.readouterr().err
    empty = tmp_path.joinpath(*CONVERSIONS[kind].folder.split('/'))
    empty.mkdir(parents=True)
    assert main(['data', kind, str(tmp_path)]) == 1
    assert f'{empty} and its subfolders contain no official label images' in capsys.readouterr().err
