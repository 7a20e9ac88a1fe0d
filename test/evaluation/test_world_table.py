# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper's Table 2 in miniature: every row is what the parts of the method give."""

from pathlib import Path

import numpy as np
import pytest

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.weights import load_heads
from clip_dinoiser_ros.evaluation import world_table
from clip_dinoiser_ros.evaluation.captions_tower.train_heads import HeadsRecipe
from clip_dinoiser_ros.evaluation.metric import Counts
from clip_dinoiser_ros.training.demo_model.files import CAPTIONS_HEADS
from clip_dinoiser_ros.world.classes import CLASSES, STUFF, THING_CLASSES
from clip_dinoiser_ros.world.scenes import scene

CAPTIONS = Path(__file__).parent / 'captions_tower'


@pytest.mark.long
def test_a_row_is_summed_over_the_scenes_of_a_draw(monkeypatch):
    chosen = ('MaskCLIP', 'trained affinity and objectness')
    monkeypatch.setattr(world_table, 'ROWS', {name: world_table.ROWS[name] for name in chosen})
    found = world_table.measure_table(CAPTIONS, 2, [910_001, 910_003])
    assert list(found) == list(chosen)
    for name, columns in found.items():
        segmenters = world_table._segmenters(CAPTIONS, world_table.ROWS[name])
        for place, draws in enumerate(columns):
            if place not in segmenters:
                assert name == chosen[1]
                assert np.isnan(draws).all()
                continue
            column = world_table.COLUMNS[place]
            for first, miou in zip((910_001, 910_003), draws, strict=True):
                counts = Counts.zero(len(column.prompts))
                for seed in (first, first + 1):
                    shown = scene(seed, 640, 480)
                    resized = world_table.resize(shown.image)
                    (labels,) = segmenters[place].segment([resized], [shown.labels.shape])
                    counts += Counts.of(
                        column.truth(shown), labels.numpy().astype(np.uint16), len(column.prompts)
                    )
                assert miou == pytest.approx(100 * counts.miou)
    assert np.mean(found['MaskCLIP'][0]) > 10


def test_true_labels_have_the_index_of_their_prompt():
    shown = scene(910_001, 160, 120)
    every, things = (column.truth(shown) for column in world_table.COLUMNS)
    for truth, column in zip((every, things), world_table.COLUMNS, strict=True):
        for index in np.unique(truth):
            name = column.prompts[index]
            of_world = {CLASSES[label] for label in np.unique(shown.labels[truth == index])}
            assert of_world == {name} or (name == 'background' and of_world <= set(STUFF))
    assert set(THING_CLASSES).isdisjoint(STUFF)


def test_mean_and_deviation():
    found = {'a': [[1.0, 2.0, 3.0], [np.nan] * 3], 'b': [[4.0, 4.0, 4.0], [0.0, 0.0, 6.0]]}
    assert world_table.table(found).splitlines()[2:] == [
        '| a | 2.00 ± 1.00 |  |',
        '| b | 4.00 ± 0.00 | 2.00 ± 3.46 |',
    ]


@pytest.mark.long
def test_each_training_has_convolutions_of_its_own(monkeypatch):
    """Two short trainings; their evaluation is a stand-in that tells which rows and weights."""
    seen = []

    def measure_table(folder, scenes, starts, rows):
        heads = load_heads(folder / CAPTIONS_HEADS)
        seen.append((rows, heads))
        return {row: [[1.0, 2.0 + len(seen)], [np.nan, np.nan]] for row in rows}

    monkeypatch.setattr(world_table, 'HEADS', HeadsRecipe(scenes=2, steps=2, batch=1))
    monkeypatch.setattr(world_table, 'measure_table', measure_table)
    found = world_table.measure_trainings(CAPTIONS, 2, [910_001, 910_003], 2)
    learned = ['pooling with the trained affinity', 'trained affinity and objectness']
    assert [rows for rows, _ in seen] == [list(world_table.ROWS), learned]
    first, second = (heads for _, heads in seen)
    assert all(not first[key].equal(second[key]) for key in first)
    assert found[learned[0]][0] == [2.0, 2.5]
    assert found['MaskCLIP'][0] == [2.0]
    assert '| MaskCLIP | 2.00 |  |' in world_table.table(found)


def test_nonsense_is_refused(tmp_path, capsys):
    assert main(['evaluate', 'table', '--captions', str(tmp_path)]) == 1
    assert 'there is no captions-tower' in capsys.readouterr().err
    assert main(['evaluate', 'table', '--captions', str(CAPTIONS), '--scenes', '0']) == 1
    assert '--scenes is 0; must be at least 1' in capsys.readouterr().err
    assert main(['evaluate', 'table', '--captions', str(CAPTIONS), '--trainings', '-1']) == 1
    assert '--trainings is -1; must be at least 0' in capsys.readouterr().err
