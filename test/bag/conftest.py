# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command with the golden model, already loaded."""

from __future__ import annotations

import pytest
from golden_data import golden

pytest.importorskip('rosbags', reason='recordings need rosbags')

import quick_model

from clip_dinoiser_ros import arguments, cli


@pytest.fixture
def model_arguments(golden_files, golden_prompts):
    """Arguments under which the model gives the golden numbers."""
    files = [text for key, value in golden_files.items() for text in (f'--{key}', value)]
    fixed = ['--device', 'cpu', '--precision', 'fp32', '--short-side', '0']
    return ['--prompts', *golden_prompts, *files, *fixed]


@pytest.fixture
def run(monkeypatch, golden_segmenter, model_arguments):
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: golden_segmenter)

    def run(verb, *words, last=()):
        return cli.main([verb, *(str(word) for word in words), *model_arguments, *last])

    return run


@pytest.fixture
def run_quickly(monkeypatch):
    """Run the command with the stand-in for the model."""
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: quick_model.QuickSegmenter())

    def run(verb, *words):
        return cli.main([verb, *(str(word) for word in words), *quick_model.ARGUMENTS])

    return run


@pytest.fixture(scope='session')
def picture():
    return golden('image_160x208_background')
