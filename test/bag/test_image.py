# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Image files in, PNG files out."""

import json

import cv2
import numpy as np
import pytest
from golden_data import golden


@pytest.fixture
def pictures(tmp_path, picture):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    bgr = picture['image'][..., ::-1]
    cv2.imwrite(str(folder / 'yard.png'), bgr)
    cv2.imwrite(str(folder / 'hall.jpg'), bgr)
    return folder


def test_golden_labels_come_out(run, tmp_path, pictures, golden_segmenter, golden_prompts, capsys):
    out = tmp_path / 'out'
    assert run('image', pictures / 'yard.png', '--output', out) == 0
    expected = golden('image_160x208_background')
    labels = cv2.imread(str(out / 'yard_labels.png'), cv2.IMREAD_UNCHANGED)
    assert (labels.dtype, labels.shape) == (np.uint8, (160, 208))
    assert (labels == expected['labels']).mean() >= 0.9999
    exact = golden_segmenter.segment(expected['image'], golden_segmenter.encode(golden_prompts))
    confidence = cv2.imread(str(out / 'yard_confidence.png'), cv2.IMREAD_UNCHANGED)
    assert np.abs(confidence / 255 - exact.confidence).max() <= 0.5 / 255 + 1e-6
    overlay = cv2.imread(str(out / 'yard_overlay.png'))
    assert overlay.shape == (160, 208, 3)
    classes = json.loads((out / 'classes.json').read_text())
    assert [entry['name'] for entry in classes['classes']] == golden_prompts
    assert {entry['id'] for entry in classes['classes']} >= {*np.unique(labels).tolist()}
    assert classes['unlabelled_id'] == 255
    said = capsys.readouterr().out
    shares = np.bincount(labels.ravel(), minlength=7) / labels.size
    top = int(shares.argmax())
    assert f'{shares[top]:6.1%}  {golden_prompts[top]}' in said


def test_prompts_that_work_against_each_other_are_told_of(run, tmp_path, pictures, capsys):
    files = [pictures / 'yard.png', '--output', tmp_path / 'out']
    assert run('image', *files, last=['--prompts', 'background', 'person', 'floor']) == 0
    assert "warning: the background filter will make holes in 'floor'" in capsys.readouterr().err
    assert run('image', *files, '--force', last=['--prompts', 'person', 'floor']) == 0
    assert 'warning' not in capsys.readouterr().err


def test_folder_and_files_and_nothing_else(run_quickly, tmp_path, pictures, picture):
    (pictures / 'notes.txt').write_text('no image')
    extra = tmp_path / 'yard.jpeg'  # the stem of another
    cv2.imwrite(str(extra), picture['image'])
    out = tmp_path / 'deep/out'
    assert run_quickly('image', pictures, extra, pictures / 'yard.png', '--output', out) == 0
    assert sorted(path.name for path in out.glob('*_labels.png')) == [
        'hall_labels.png',
        'yard.jpeg_labels.png',
        'yard.png_labels.png',
    ]
    assert len(list(out.iterdir())) == 10
    assert len(list(pictures.iterdir())) == 3


def test_other_kinds_of_files_are_read_or_named(run_quickly, tmp_path, pictures, picture, capsys):
    bgr = picture['image'][..., ::-1]
    for suffix in ('webp', 'bmp', 'tiff'):
        cv2.imwrite(str(pictures / f'{suffix}.{suffix}'), bgr)
    cv2.imwrite(str(pictures / 'deep.tif'), bgr.astype(np.uint16) * 257)
    (pictures / 'phone.MPO').write_bytes((pictures / 'hall.jpg').read_bytes() * 2)
    (pictures / 'old.jpe').write_bytes((pictures / 'hall.jpg').read_bytes())
    (pictures / 'new.heic').write_bytes(b'heic')
    out = tmp_path / 'out'
    assert run_quickly('image', pictures, '--output', out) == 0
    said = capsys.readouterr().err
    assert 'left out: new.heic; read are .png' in said
    names = {path.name.removesuffix('_labels.png') for path in out.glob('*_labels.png')}
    assert names == {'yard', 'hall', 'webp', 'bmp', 'tiff', 'deep', 'phone', 'old'}
    expected = (out / 'yard_labels.png').read_bytes()
    for name in ('bmp', 'tiff', 'deep'):
        assert (out / f'{name}_labels.png').read_bytes() == expected
    for name in ('phone', 'old'):
        assert (out / f'{name}_labels.png').read_bytes() == (out / 'hall_labels.png').read_bytes()
    given = ('image', pictures / 'new.heic', '--output', tmp_path / 'new')
    assert run_quickly(*given) == 1
    assert 'not JPEG, PNG, BMP, TIFF or WebP; convert the file' in capsys.readouterr().err


def test_less_certain_pixels_are_unlabelled(run_quickly, tmp_path, pictures):
    out = tmp_path / 'out'
    arguments = ('--output', out, '--min-confidence', 0.5)
    assert run_quickly('image', pictures / 'yard.png', *arguments) == 0
    labels = cv2.imread(str(out / 'yard_labels.png'), cv2.IMREAD_UNCHANGED)
    image = cv2.imread(str(pictures / 'yard.png'))
    background = image[..., 2] // 32 % 3 == 0  # by the filter, which is not cut
    assert np.array_equal(labels == 255, (image[..., 1] < 127.5) & ~background)
    assert (labels == 0).any()


def test_negative_classes_are_unlabelled(run, tmp_path, pictures, golden_segmenter, golden_prompts):
    image = golden('image_160x208_background')['image']
    kept = [prompt for prompt in golden_prompts if prompt != 'person in a hi-vis vest']
    words = ['--prompts', *kept, '--negative-prompts', 'person in a hi-vis vest']
    assert run('image', pictures / 'yard.png', '--output', tmp_path / 'out', last=words) == 0
    vocabulary = golden_segmenter.encode([*kept, 'person in a hi-vis vest'])
    expected = golden_segmenter.segment(image, vocabulary).labels
    negative = expected == 6
    assert 0.1 < negative.mean() < 0.9
    labels = cv2.imread(str(tmp_path / 'out/yard_labels.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, np.where(negative, 255, expected))
    classes = json.loads((tmp_path / 'out/classes.json').read_text())
    assert [entry['name'] for entry in classes['classes']] == kept
    overlay = cv2.imread(str(tmp_path / 'out/yard_overlay.png'))[..., ::-1]
    negative[:100] = False  # the legend is there
    np.testing.assert_array_equal(overlay[negative], image[negative])


def test_damaged_files_are_passed_over(run_quickly, tmp_path, pictures, capsys):
    content = (pictures / 'hall.jpg').read_bytes()
    (pictures / 'half.jpg').write_bytes(content[: len(content) // 2])
    assert run_quickly('image', pictures, '--output', tmp_path / 'out') == 3
    assert 'half.jpg: passed over: cut off' in capsys.readouterr().err
    assert (tmp_path / 'out/yard_labels.png').exists()
    assert run_quickly('image', pictures / 'half.jpg', '--output', tmp_path / 'new') == 1
    assert 'no image could be segmented' in capsys.readouterr().err


def test_nothing_is_replaced_without_force(run_quickly, tmp_path, pictures, capsys):
    out = tmp_path / 'out'
    assert run_quickly('image', pictures, '--output', out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run_quickly('image', pictures / 'yard.png', '--output', out) == 1
    assert '--force replaces it' in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert run_quickly('image', pictures / 'yard.png', '--output', out, '--force') == 0
    # not even with it, where an output would fall on an input
    (pictures / 'yard_labels.png').write_bytes((pictures / 'yard.png').read_bytes())
    assert run_quickly('image', pictures, '--output', pictures, '--force') == 1
    assert 'choose another folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'reason'), [('none.png', 'does not exist'), ('empty', 'contains no images')]
)
def test_missing_files_are_named(run_quickly, tmp_path, capsys, given, reason):
    (tmp_path / 'empty').mkdir()
    assert run_quickly('image', tmp_path / given, '--output', tmp_path / 'out') == 1
    assert reason in capsys.readouterr().err
