# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The authors' own evaluation on the miniatures: PASCAL's images and Cityscapes, and all inputs.

mIoU alone would miss several wrong readings of the protocol, so the labels of every image are held
to the bar as well. The other data sets are in test_goldens_coco.py, for another worker.
"""

import json
import zlib

import pytest
from golden_cases import COCO, VOC, cases, check_result, towers_see_a_window_once
from miniature_data import DATA, MINIATURE, golden

from clip_dinoiser_ros.evaluation.benchmarks import BENCHMARKS, open_benchmark
from clip_dinoiser_ros.evaluation.segmenting import resize

__all__ = ['towers_see_a_window_once']


def test_all_45_golden_results_are_tested():
    assert sorted((*VOC, *COCO)) == sorted(BENCHMARKS)
    assert len(cases(VOC)) + len(cases(COCO)) == 45


@pytest.mark.usefixtures('towers_see_a_window_once')
@pytest.mark.parametrize(('name', 'variant'), cases(VOC))
def test_labels_and_sums_are_the_authors(name, variant, request, tmp_path):
    check_result(name, variant, request, tmp_path)


@pytest.mark.parametrize('name', BENCHMARKS)
def test_images_are_resized_to_the_same_bytes(name):
    data, expected = open_benchmark(name, DATA), golden(name)
    assert [sample.image.name for sample in data.samples] == [
        str(file).rsplit('/', 1)[-1] for file in expected['files']
    ]
    for sample, (height, width, crc) in zip(data.samples, expected['resized'], strict=True):
        image, truth, odd = data.read(sample)
        resized = resize(image)
        assert resized.shape == (height, width, 3)
        assert zlib.crc32(resized.tobytes()) == crc
        assert truth.shape == image.shape[:2]
        assert odd == ''


@pytest.mark.parametrize('name', BENCHMARKS)
def test_prompts_are_those_of_the_authors(name):
    names = json.loads((MINIATURE / 'golden/classes.json').read_text())[name]
    assert open_benchmark(name, DATA).prompts == tuple(text.strip() for text in names)


def test_the_templates_are_those_of_the_authors():
    from clip_dinoiser_ros.core.plain_clip import open_clip_module

    theirs = json.loads((MINIATURE / 'golden/templates.json').read_text())
    ours = open_clip_module('zero_shot_metadata').OPENAI_IMAGENET_TEMPLATES
    assert [template('{}') for template in ours] == theirs
