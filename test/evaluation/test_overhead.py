# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an evaluation adds to the model's own time: what is measured, and the table; memory."""

import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.evaluation import overhead
from clip_dinoiser_ros.evaluation.items import FileSource
from clip_dinoiser_ros.evaluation.journal import Journal
from clip_dinoiser_ros.evaluation.overhead import Block, measure_overhead, table
from clip_dinoiser_ros.evaluation.running import evaluate, evaluated_images


@pytest.mark.long
def test_every_image_is_measured_in_both_ways(monkeypatch):
    alone, evaluated = [], []
    probabilities = overhead.WindowSegmenter.probabilities
    monkeypatch.setattr(
        overhead.WindowSegmenter,
        'probabilities',
        lambda self, crops: alone.append(len(crops)) or probabilities(self, crops),
    )
    counted = overhead.evaluate
    monkeypatch.setattr(
        overhead, 'evaluate', lambda *given: evaluated.append(counted(*given)) or evaluated[-1]
    )
    blocks = measure_overhead(5, width=160, height=120)
    assert [block.images for block in blocks] == [2, 1, 1, 1]
    assert [outcome.images for outcome in evaluated] == [1, 2, 1, 1, 1]  # the first warms up
    assert alone == [2] * 12  # both windows of every image, alone and in the evaluation
    assert evaluated[1].counts.miou > 0.3
    for block in blocks:
        assert min(*block.model_s, *block.all_s) > 0
        assert block.memory_mib > 100


def test_the_table_sums_up():
    blocks = [
        Block(1, (0.1, 0.2), (0.15, 0.22), 900.0),
        Block(3, (0.3, 0.6), (0.33, 0.66), 901.4),
    ]
    lines = table(blocks).splitlines()
    assert lines[2] == '| 1 | 100 | 150 | 50.0% | 200 | 220 | 10.0% | 900 |'
    assert lines[4] == '| all | 100 | 120 | 20.0% | 200 | 220 | 10.0% | 901 |'


def test_too_few_images_are_refused(capsys):
    assert main(['evaluate', 'overhead', '--images', '3']) == 1
    assert '--images is 3; must be at least 4' in capsys.readouterr().err


class Watching:
    """Says class 0 everywhere, and notes the memory of Python and numpy before each image."""

    batch = 1

    def __init__(self):
        self.held = []

    def prepare(self, image):
        return None

    def predict(self, items):
        self.held.append(tracemalloc.get_traced_memory()[0])
        return [np.zeros(item.image.shape[:2], np.uint16) for item in items]

    def reset(self):
        pass


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    data = overhead._write_scenes(tmp_path, 40, 160, 120)
    classes = len(overhead.CLASSES)
    watching = Watching()
    tracemalloc.start()
    try:
        with Journal(tmp_path / 'out', {}, classes, resume=False) as journal:
            source = FileSource(data, 2, 4)
            results = partial(evaluated_images, source, watching, classes)
            outcome = evaluate(results, source.total, journal, classes)
    finally:
        tracemalloc.stop()
    assert outcome.images == len(watching.held) == 40
    bytes_of_image = 160 * 120 * 3
    # up to seven images are read ahead; 30 that stay would be 30 more
    assert max(watching.held[10:]) - max(watching.held[:10]) < 5 * bytes_of_image


def test_an_image_is_counted_while_the_next_one_is_segmented(tmp_path):
    source = FileSource(overhead._write_scenes(tmp_path, 3, 160, 120), 1, 1)
    next_begun = threading.Event()

    class Noting(Watching):
        def predict(self, items):
            if self.held:
                next_begun.set()
            return super().predict(items)

    def save(name, labels):
        assert next_begun.wait(60), 'counting has to end before the next image is segmented'

    found = evaluated_images(source, Noting(), len(overhead.CLASSES), save=save)
    assert [evaluated.name for evaluated in found] == ['0', '1', '2']


def test_labels_that_cannot_be_saved_end_the_evaluation(tmp_path):
    source = FileSource(overhead._write_scenes(tmp_path, 3, 160, 120), 1, 1)

    def save(name, labels):
        if name == '1':
            raise OSError('no space left')

    found = evaluated_images(source, Watching(), len(overhead.CLASSES), save=save)
    assert next(found).name == '0'
    with pytest.raises(OSError, match='no space left'):
        next(found)
