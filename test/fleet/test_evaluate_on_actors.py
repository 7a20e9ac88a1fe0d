# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An evaluation on actors has the sums of one in this process, whatever happens to the actors."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
from ray_nodes import actors_of  # before Ray

pytest.importorskip('ray', reason='Ray is an extra: make test-fleet')

import torch

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.evaluation import actors, overhead
from clip_dinoiser_ros.fleet.dispatch import Dispatcher

CHANGING = ('images_per_second', 'finished', 'threads', 'actors')  # of a result
IMAGES = 24


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Labelled scenes; one image is damaged."""
    folder = tmp_path_factory.mktemp('data')
    overhead._write_scenes(folder, IMAGES, 160, 120)
    (folder / 'images/11.jpg').write_bytes(b'cut off')
    return folder


def evaluate(data, out, *more):
    labels = os.path.relpath(data / 'labels')  # actors run in another folder
    folders = ('--images', data / 'images', '--labels', labels)
    words = (*folders, '--classes', data / 'classes.csv', '--out', out, '--model', 'demo', *more)
    return main(['evaluate', 'folder', *map(str, words)])


def found(out):
    """What an evaluation wrote, apart from times."""
    lines = [json.loads(line) for line in (out / 'images.jsonl').read_text().splitlines()]
    for line in lines:
        line.pop('seconds', None)
    result = json.loads((out / 'result.json').read_text())
    labels = {path.name: path.read_bytes() for path in (out / 'labels').iterdir()}
    return lines, {key: value for key, value in result.items() if key not in CHANGING}, labels


@pytest.fixture(scope='module')
def expected(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('expected')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the actors have
    try:
        assert evaluate(data, out, '--save-labels') == 3
    finally:
        torch.set_num_threads(threads)
    return found(out)


@pytest.mark.timeout(600)
def test_an_actor_and_a_node_die(three_nodes, data, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(actors, 'IMAGES', 2)
    out = tmp_path / 'out'
    journal = out / 'images.jsonl'

    def attack():
        for node, images in zip(three_nodes.others, (2, 10), strict=True):
            while not journal.exists() or journal.read_bytes().count(b'\n') <= images:
                time.sleep(0.02)
            pids = actors_of(node)
            attacked.append(len(pids))
            if images == 2:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            else:
                three_nodes.remove_node(node, allow_graceful=False)

    attacked = []
    attacker = threading.Thread(target=attack, daemon=True)
    attacker.start()
    words = ('--save-labels', '--address', three_nodes.address, '--cpus', '1')
    assert evaluate(data, out, *words) == 3
    assert len(attacked) == 2
    assert all(attacked)
    assert 'is tried again: ' in capsys.readouterr().err
    assert found(out) == expected


@pytest.mark.timeout(600)
def test_resumed_on_a_cluster_of_its_own(data, expected, tmp_path, capsys):
    out = tmp_path / 'out'
    assert evaluate(data, out, '--save-labels', '--actors', '1', '--cpus', '1') == 3
    assert found(out) == expected
    lines = (out / 'images.jsonl').read_bytes().splitlines(keepends=True)
    (out / 'images.jsonl').write_bytes(b''.join(lines[:8]))
    shutil.rmtree(out / 'labels')
    capsys.readouterr()
    words = ('--save-labels', '--actors', '2', '--cpus', '1', '--resume')
    assert evaluate(data, out, *words) == 3
    said = capsys.readouterr().err
    assert '17 images, 2 actors of 1 CPUs and 0 GPUs' in said
    assert '1 images were left out' in said
    assert found(out)[:2] == expected[:2]


@pytest.mark.timeout(600)
def test_an_actor_with_other_images(three_nodes, data, tmp_path, monkeypatch, capsys):
    ours = actors._inputs
    monkeypatch.setattr(actors, '_inputs', lambda *given: {**ours(*given), 'images': 'others'})
    words = ('--address', three_nodes.address, '--cpus', '1')
    assert evaluate(data, tmp_path / 'out', *words) == 1
    assert 'an actor has other images: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--address', '127.0.0.1:1'], 'the Ray cluster at 127.0.0.1:1 cannot be joined'),
        (['--address', ''], 'the Ray cluster at  cannot be joined: give HOST:PORT'),
        (['--actors', '1', '--cpus', '999'], 'an actor needs 999 CPUs'),
    ],
)
def test_results_stay_when_the_cluster_cannot_be_used(data, tmp_path, capsys, words, said):
    earlier = tmp_path / 'images.jsonl'
    earlier.write_text('earlier')
    assert evaluate(data, tmp_path, *words, '--force') == 1
    assert said in capsys.readouterr().err
    assert earlier.read_text() == 'earlier'


def test_a_part_that_is_tried_again_comes_next():
    """Results are written in order, so all others would wait for it."""
    dispatcher = Dispatcher(None, 0, None, None)
    dispatcher.add([actors.Part(first, first + 4) for first in (0, 4, 8)])
    first, *_ = dispatcher._waiting
    dispatcher._waiting.remove(first)
    dispatcher._put([first])
    assert [task.unit.first for task in dispatcher._waiting] == [0, 4, 8]
