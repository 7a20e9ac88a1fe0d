# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser web` with the demo model: pictures, a recording, and nothing."""

import argparse
import queue
import shutil
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip('nicegui', reason='the extra `web` is not installed')
pytest.importorskip('selenium', reason='nothing to drive a browser with')

from browser import wait_for
from selenium.webdriver.common.keys import Keys
from served import ServedPage

from clip_dinoiser_ros import arguments, cli
from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.demo.record import write_drive
from clip_dinoiser_ros.web import command
from clip_dinoiser_ros.web.desk import Desk
from clip_dinoiser_ros.web.pictures import ImageFolder, NoPictures, PlayedBag
from clip_dinoiser_ros.web.source import RefusedError
from clip_dinoiser_ros.world.drives import demo_drive

PROMPTS = ['background', 'person', 'blue barrel', 'yellow box']


@pytest.fixture(scope='module')
def scene():
    return next(iter(demo_drive(1.0, 1.0)))


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter.load('demo', device='cpu')


@pytest.fixture
def images(tmp_path, scene):
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / 'yard.png'), scene.image[..., ::-1])
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8\xff')
    return folder


def make_desk(segmenter, pictures):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(
        ['--model', 'demo', '--background', 'background', '--prompts', *PROMPTS]
    )
    return Desk(segmenter, pictures, command._settings(args))


@pytest.fixture
def desk(segmenter, images):
    desk = make_desk(segmenter, ImageFolder(images))
    yield desk
    desk.close()


def test_a_picture_is_segmented_again_when_words_change(desk):
    frames = queue.Queue()
    changed = threading.Event()
    desk.on_change(changed.set)
    stop = desk.watch('yard.png', frames.put)
    first = frames.get(timeout=60)
    assert 'labels/s' not in desk.status('yard.png').summary
    assert [one.name for one in first.classes] == PROMPTS
    assert first.labels.shape == first.image.shape[:2]
    desk.change({'prompts': [*PROMPTS, 'orange cone'], 'min_confidence': 0.9})
    second = frames.get(timeout=60)
    assert changed.wait(5)
    assert [one.id for one in second.classes] == [0, 1, 2, 3, 4]
    assert (second.labels == second.unlabelled_id).any()
    stop()
    with pytest.raises(queue.Empty):
        frames.get(timeout=0.3)


def test_a_place_has_the_class_of_the_labels(desk):
    frames = queue.Queue()
    stop = desk.watch('yard.png', frames.put)
    frame = frames.get(timeout=60)
    names = {one.id: one.name for one in frame.classes}
    height, width = frame.labels.shape
    sure = np.argwhere(frame.confidence > 0.9)[:: height * width // 20]
    for row, column in sure:
        found = desk.probabilities('yard.png', (column + 0.5) / width, (row + 0.5) / height)
        assert found[0].name == names[frame.labels[row, column]]
        assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-3)
    stop()


def test_ids_stay_when_words_go_and_come(desk):
    desk.change({'prompts': ['yellow box', 'person'], 'background': ''})
    assert desk.class_ids() == {'yellow box': 3, 'person': 1}
    desk.change({'negative_prompts': ['blue barrel']})
    assert desk.class_ids() == {'yellow box': 3, 'person': 1}


@pytest.mark.parametrize(
    ('settings', 'parameter', 'reason'),
    [
        ({'prompts': []}, 'prompts', 'prompts is empty'),
        ({'prompts': ['a', 'a']}, 'prompts', 'given twice'),
        ({'min_confidence': 1.5}, 'min_confidence', 'must be 0 to 1'),
        ({'prompts': ['a'], 'max_rate': -1.0}, 'max_rate', 'must be 0 to'),
    ],
)
def test_a_refused_change_changes_nothing(desk, settings, parameter, reason):
    before = desk.settings()
    with pytest.raises(RefusedError, match=reason) as refused:
        desk.change(settings)
    assert refused.value.parameter == parameter
    assert desk.settings() == before


def test_trying_changes_nothing(desk, scene):
    before = desk.settings(), desk.class_ids()
    frame = desk.segment(scene.image, ['green pallet', 'person'], '')
    assert [one.name for one in frame.classes] == ['green pallet', 'person']
    likely = frame.probabilities(0.5, 0.9)
    assert sum(one.probability for one in likely) == pytest.approx(1, abs=1e-3)
    height, width = frame.labels.shape
    label = frame.labels[int(0.9 * height), width // 2]
    names = [next(one.name for one in frame.classes if one.id == label)]
    names += [one.name for one in frame.classes if one.id != label]
    assert [one.name for one in likely] == names
    assert (desk.settings(), desk.class_ids()) == before
    with pytest.raises(RefusedError, match='empty synonym'):
        desk.segment(scene.image, ['|'], '')


def test_unknown_words_and_broken_files_are_told(desk):
    desk.change({'prompts': ['person', 'zeppelin', 'floor'], 'background': ''})
    assert 'zeppelin' in desk.status('yard.png').summary
    stop = desk.watch('broken.jpg', lambda frame: None)
    wait_for(lambda: 'without image size' in desk.status('broken.jpg').summary)
    assert desk.status('broken.jpg').level == 2
    stop()


def test_a_recording_is_played_again_and_again(segmenter, tmp_path):
    write_drive(tmp_path / 'drive', demo_drive(0.3, 10.0))
    desk = make_desk(segmenter, PlayedBag(tmp_path / 'drive'))
    frames = queue.Queue()
    (camera,) = desk.cameras()
    stop = desk.watch(camera, frames.put)
    stamps = [frames.get(timeout=60).stamp_ns for _ in range(7)]
    assert stamps == sorted(set(stamps))
    rate, unit = wait_for(lambda: desk.status(camera).summary).split(': ')[0].split()
    assert (float(rate) > 0, unit) == (True, 'labels/s')
    stop()
    desk.close()


def test_an_empty_folder_is_refused(tmp_path, capsys):
    assert cli.main(['web', '--images', str(tmp_path), '--model', 'demo']) == 1
    assert 'contains no images' in capsys.readouterr().err
    assert NoPictures().names() == ()


def test_without_nicegui_it_says_what_is_missing():
    program = 'import sys; sys.modules["nicegui"] = None; from clip_dinoiser_ros import cli; '
    ended = subprocess.run(
        [sys.executable, '-c', program + 'sys.exit(cli.main(["web"]))'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert 'the Python package nicegui is missing' in ended.stderr


def test_prompts_are_still_required_elsewhere():
    parser = argparse.ArgumentParser()
    arguments.add_prompts_argument(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([])


@pytest.mark.long
def test_the_verb_in_a_browser(browser, images, tmp_path):
    served = ServedPage(
        *('-m', 'clip_dinoiser_ros.cli', 'web', '--images', images, '--model', 'demo'),
        *('--sets', tmp_path / 'sets', '--background', 'background', '--prompts', *PROMPTS),
    )
    try:
        browser.open(served.address)
        wait_for(lambda: browser.words() == PROMPTS)
        browser.choose_camera('yard.png')
        wait_for(lambda: browser.legend().get('blue barrel') or browser.legend().get('person'))
        before = browser.legend()
        browser.labelled('Add a word').send_keys('orange cone', Keys.ENTER)
        wait_for(lambda: 'orange cone' in browser.legend())
        assert set(browser.legend()) >= {*before, 'orange cone'}
        assert browser.errors() == []
    finally:
        assert served.close() == 130


@pytest.mark.long
def test_all_images_of_a_folder_side_by_side(browser, images, tmp_path):
    """One of them is broken, and one has HTML for a name."""
    attack = '<img src=x onerror=window.attacked=1>.png'
    shutil.copy(images / 'yard.png', images / attack)
    served = ServedPage(
        *('-m', 'clip_dinoiser_ros.cli', 'web', '--images', images, '--model', 'demo'),
        *('--sets', tmp_path / 'sets', '--background', 'background', '--prompts', *PROMPTS),
    )
    try:
        browser.open(served.address)
        wait_for(browser.words)
        browser.choose_camera('all cameras')
        wait_for(lambda: len(browser.all('.tile .viewer-key')) == 2)
        wait_for(lambda: 'without image size' in browser.labelled('broken.jpg').text)
        assert browser.one('.top .status').text.startswith('broken.jpg: ')
        assert [tile.text.splitlines()[0] for tile in browser.all('.tile')] == [
            attack,
            'broken.jpg',
            'yard.png',
        ]
        assert browser.js('return window.attacked') is None
    finally:
        served.close()


@pytest.mark.long
def test_without_pictures_one_can_be_dropped(browser, images, tmp_path):
    served = ServedPage(
        *('-m', 'clip_dinoiser_ros.cli', 'web', '--model', 'demo', '--sets', tmp_path / 'sets'),
        *('--prompts', 'person', 'blue barrel'),
    )
    try:
        browser.open(served.address)
        browser.one('.try input[type=file]').send_keys(str(images / 'yard.png'))
        wait_for(lambda: len(browser.all('.try .viewer-legend')) == 2)
        wait_for(lambda: 'blue barrel' in browser.one('.try .viewer-legend').text)
        browser.one('.try .viewer-stage').click()
        wait_for(lambda: len(browser.one('.try .viewer-tip').text.splitlines()) == 2)
    finally:
        served.close()
