# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make gpu` as far as it goes without a GPU."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import fake_cuda
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import checks
import page
import run_gpu

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import graphs, memory

ROWS = [('500 captures: memory growth', '0 MiB'), ('a | b', '1.00, 2.00 ms')]
PAGE = run_gpu.ROOT / 'docs' / 'performance.md'


def table(text, device='Made-up 9000', date='2031-01-02', rows=ROWS):
    return page.with_table(text, device, date, 'torch 9', rows)


def test_the_table_goes_into_the_page_and_replaces_that_of_its_device():
    text = PAGE.read_text()
    first = table(text)
    assert '### Made-up 9000\n\n2031-01-02, torch 9.\n\n| | |\n| --- | --- |\n| 500 cap' in first
    assert r'| a \| b | 1.00, 2.00 ms |' in first
    other = table(first, 'Another')
    again = table(other, date='2031-02-03', rows=ROWS[:1])
    assert again.count('### Made-up 9000') == again.count('### Another') == 1
    assert '2031-01-02, torch 9.\n\n| | |\n| --- | --- |\n| 500 captures' in again  # of the other
    assert again.count('1.00, 2.00 ms') == 1
    outside = [part.split(page.END)[-1] for part in again.split(page.BEGIN)]
    assert outside == [part.split(page.END)[-1] for part in text.split(page.BEGIN)]
    with pytest.raises(ValueError, match='no lines'):
        table('# Another page')


def test_no_made_up_table_is_in_the_page():
    assert 'Made-up' not in PAGE.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    copied = tmp_path / 'performance.md'
    copied.write_text(PAGE.read_text())
    command = [sys.executable, run_gpu.__file__, '--page', str(copied)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ['PYTHONPATH']])  # as make does
    env = {**os.environ, 'PYTHONPATH': path}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout.count('\n') == 1
    assert ended.stdout.startswith('make gpu: torch ')
    assert 'has no CUDA device: ' in ended.stdout
    assert copied.read_text() == PAGE.read_text()


def test_a_step_that_fails_is_told_and_the_others_run():
    def fail():
        raise RuntimeError('CUDA error: illegal address')

    rows, failed = run_gpu.run_all(iter([('one', fail), ('two', lambda: ROWS)]))
    assert failed == 1
    assert rows == [('one', '**failed**: RuntimeError: CUDA error: illegal address'), *ROWS]


def test_the_figures_of_a_benchmark():
    row = {
        'size': [480, 640], 'batch': 1, 'precision': 'bf16', 'frame_ms': [4.0, 5.0],
        'stages_ms': {'backbone': 1.0, 'heads and pooling': 0.1}, 'share': 0.4,
        'ratio': 5.5, 'same_labels': 0.999,
    }  # fmt: skip
    result = {
        'limits': {'bf16': {'gflop_per_s': 790e3}},
        'rows': [row, {**row, 'batch': 16, 'ratio': None}],
        'prompts': {'three new prompts': 20.0},
    }
    found = run_gpu.benchmark_rows(result)
    assert [value for _, value in found] == [
        '790 TFLOP/s',
        '4.00, 5.00 ms; 1.10 ms in stages; 40%',
        '5.50; 99.90%',
        '4.00, 5.00 ms; 1.10 ms in stages; 40%',
        '20.00',
    ]


@pytest.fixture
def on_a_gpu(monkeypatch, golden_clip, golden_heads):
    """A segmenter that takes the way of a GPU; `torch.cuda` is a stand-in."""
    cuda = fake_cuda.install(monkeypatch, graphs, memory, checks)
    cuda.memory_reserved = lambda device: 2**30
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, short_side=48, pack=False)
    segmenter._run = graphs.GraphRunner(segmenter.pipeline, torch.device('cuda', 0))
    return segmenter, cuda


@pytest.mark.long
def test_prompt_changes_and_cameras_are_looked_at(on_a_gpu, monkeypatch):
    segmenter, cuda = on_a_gpu
    rows = checks.prompt_changes(segmenter)
    assert rows[0] == ('50 prompt changes: graphs captured', '0')
    rows = checks.camera_sizes(segmenter)
    assert len(rows) == len(checks.SIZES)
    assert all(value.endswith(' ms, 0') for _, value in rows)
    sizes = iter(range(0, 10**12, 2**30))
    cuda.memory_reserved = lambda device: next(sizes)
    with pytest.raises(AssertionError, match='changes of prompts took'):
        checks.prompt_changes(segmenter)


@pytest.mark.long
def test_captures_are_looked_at(on_a_gpu, monkeypatch):
    segmenter, cuda = on_a_gpu
    monkeypatch.setattr(checks, 'CAPTURES', 30)
    rows = checks.captures(segmenter)
    assert rows[0] == ('30 captures: memory growth', '0 MiB')
    assert len(cuda.captures) == 30
    sizes = iter(range(0, 10**12, 2**30))
    cuda.memory_reserved = lambda device: next(sizes)
    with pytest.raises(AssertionError, match='captures took'):
        checks.captures(segmenter)


def test_wrong_ways_to_enlarge_are_found(monkeypatch):
    fake_cuda.install(monkeypatch, checks)
    monkeypatch.setattr(checks, 'LARGE', (90, 160))
    monkeypatch.setattr(checks, 'REPEATS', 1)
    assert len(checks.enlarging(torch.device('cpu'))) == 6
    enlarge = checks.upsample._enlarge_by_classes

    def wrong(maps, *rest):
        return enlarge(maps.flip(2), *rest)

    monkeypatch.setattr(checks.upsample, '_enlarge_by_classes', wrong)
    with pytest.raises(AssertionError, match='torch alone: 0'):
        checks.enlarging(torch.device('cpu'))


def test_wrong_ways_to_sharpen_are_found(monkeypatch):
    fake_cuda.install(monkeypatch, checks)
    monkeypatch.setattr(checks, 'REPEATS', 1)
    assert len(checks.sharpening(torch.device('cpu'))) == 8
    calls = []

    def wrong(cells, *rest):
        calls.append(cells)
        return None if len(calls) == 1 else cells.flip(2)  # the first one is what must come out

    monkeypatch.setattr(checks.edges_triton, 'try_average', wrong)
    with pytest.raises(AssertionError, match='the kernel: 0'):
        checks.sharpening(torch.device('cpu'))
