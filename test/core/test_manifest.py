# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is shipped is what is listed, and nothing else is loaded as it."""

import shutil
from pathlib import Path

import pytest

from clip_dinoiser_ros import WeightsError
from clip_dinoiser_ros.core import manifest, weights

FOLDER = Path(__file__).parents[2] / 'clip_dinoiser_ros/demo/model'
CAPTIONS = Path(__file__).parents[1] / 'evaluation/captions_tower'


@pytest.mark.parametrize('folder', [FOLDER, CAPTIONS])
def test_the_list_is_that_of_the_files(folder):
    names = manifest.listed_files(folder)
    if folder == FOLDER:
        assert {*weights.DEMO_FILES.values(), weights.DEMO_VOCABULARY} <= set(names)
    assert names
    assert not manifest.changed_files(folder, names), 'run `make manifest` and commit the result'


@pytest.mark.parametrize('name', [*weights.DEMO_FILES.values(), weights.DEMO_VOCABULARY])
def test_a_file_that_has_changed_is_not_loaded(tmp_path, name):
    folder = shutil.copytree(FOLDER, tmp_path / 'model')
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f'^{name} in .* differ from'):
        weights.demo_files(folder)
    manifest.write_manifest(folder)
    assert weights.demo_files(folder)['model'] == str(folder / 'clip-dinoiser-demo.json')
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f'^{name} in'):
        weights.demo_files(folder)


def test_a_file_that_is_not_listed_is_not_loaded(tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / 'model')
    (folder / 'manifest.json').unlink()
    with pytest.raises(WeightsError, match='differ from'):
        weights.demo_files(folder)
