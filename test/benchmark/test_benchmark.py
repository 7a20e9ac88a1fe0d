# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from clip_dinoiser_ros import Segmenter, cli
from clip_dinoiser_ros.benchmark import command, questions, report
from clip_dinoiser_ros.benchmark.arithmetic import authors_gflop, needed_gflop
from clip_dinoiser_ros.benchmark.limits import Limits
from clip_dinoiser_ros.benchmark.measuring import BenchmarkRow
from clip_dinoiser_ros.benchmark.node_start import STEPS, measure_node_start
from clip_dinoiser_ros.benchmark.objects import time_objects
from clip_dinoiser_ros.benchmark.prompts import fresh_words
from clip_dinoiser_ros.benchmark.publishing import LabelPublisher
from clip_dinoiser_ros.benchmark.questions import time_questions
from clip_dinoiser_ros.benchmark.stages import STAGES, Frames
from clip_dinoiser_ros.frames.finding import find_in


@pytest.mark.parametrize(
    ('patches', 'needed', 'authors'),
    [(28 * 28, 157.6, 174.3), (28 * 37, 217.4, 240.3), (28 * 49, 304.1, 335.8)],
)
def test_operations_of_a_frame(patches, needed, authors):
    assert needed_gflop(patches, classes=8) == pytest.approx(needed, abs=0.1)
    assert authors_gflop(patches, classes=8) == pytest.approx(authors, abs=0.1)


def test_operations_are_those_that_torch_counts(golden_clip, golden_heads, golden_prompts):
    """Against torch's own counter of the products that really run."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from clip_dinoiser_ros.benchmark.measuring import _shape

    clip, tokenizer = golden_clip
    # packed weights are multiplied by a function that it does not count
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, pack=False)
    vocabulary = segmenter.encode(golden_prompts)
    image = np.zeros((224, 224, 3), np.uint8)
    # the fused attention of the CPU is not counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        segmenter.segment_patches([image], vocabulary)
    expected = needed_gflop(14 * 14, len(vocabulary), _shape(segmenter))
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, rel=0.01)


def test_the_limit_is_that_of_the_slower_part():
    limits = Limits(gflop_per_s=100.0, gbyte_per_s=10.0)
    assert limits.shortest_ms(gflop=50.0, gbyte=1.0) == pytest.approx(500.0)
    assert limits.shortest_ms(gflop=1.0, gbyte=1.0) == pytest.approx(100.0)


def test_stages_compute_what_the_segmenter_does(golden_segmenter, golden_prompts, monkeypatch):
    vocabulary = golden_segmenter.encode(golden_prompts)
    with LabelPublisher() as publisher:
        published = []
        monkeypatch.setattr(publisher, 'publish', published.append)
        frames = Frames(golden_segmenter, vocabulary, (170, 215), 2, publisher)
        frames.whole()
        frames.stage_by_stage()
    assert len(published) == 4
    for whole, stages in zip(published[:2], published[2:], strict=True):
        np.testing.assert_array_equal(whole.labels, stages.labels)
        np.testing.assert_array_equal(whole.confidence, stages.confidence)
    assert set(frames.times.ms) == {*STAGES, 'frame', 'segment'}
    assert all(len(ms) == 1 and ms[0] >= 0 for ms in frames.times.ms.values())


def test_no_word_is_used_twice():
    words = [word for change in range(10) for word in fresh_words(change)]
    assert len(set(words)) == len(words)
    with pytest.raises(ValueError, match='18 changes'):
        fresh_words(1000)


@pytest.mark.long
def test_the_command(golden_files, tmp_path, capsys):
    out = tmp_path / 'out'
    options = ['--sizes', '64x48', '--batches', '1', '2', '--precisions', 'fp32', '--seconds', '0']
    weights = [text for name, value in golden_files.items() for text in (f'--{name}', value)]
    weights += ['--short-side', '48', '--device', 'cpu', '--scenes', '1', '--turns']
    assert cli.main(['benchmark', *options, *weights, '--output', str(out)]) == 0
    result = json.loads((out / 'benchmark.json').read_text())
    assert [row['batch'] for row in result['rows']] == [1, 2]
    for row in result['rows']:
        assert set(row['stages_ms']) == set(STAGES)
        assert row['grid'] == [3, 4]
        assert row['frame_ms'][1] >= row['frame_ms'][0] > 0
        assert row['peak_memory_mib'] > 0
    assert result['limits']['fp32']['gflop_per_s'] > 0
    assert result['agreement'][0]['same'] == 1.0  # of fp32 with itself
    first, *others = result['turns']['64x48']
    assert first['name'] == 'torch fp32, weights not packed'
    assert 'torch fp32' in {row['name'] for row in others}
    assert min(row['same_labels'] for row in others) > 0.99
    assert 'a process' in result['start']
    for start in result['start'].values():
        # an image may be taken a moment before the node says that it is active
        steps = [seconds for step, seconds in start.items() if step != 'frame']
        assert steps == sorted(steps)
        assert steps[0] > 0
    assert (out / 'benchmark.svg').read_text().startswith('<svg')
    assert '| 64x48 | 2 | fp32 |' in capsys.readouterr().out


@pytest.mark.long
def test_the_start_of_the_node(golden_files, capsys):
    """The real node, over DDS; what it takes is not judged, but that every step is told."""
    pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')
    weights = [text for name, value in golden_files.items() for text in (f'--{name}', value)]
    options = ['--only-start', '--cpu-time', '--short-side', '48', '--device', 'cpu']
    assert cli.main(['benchmark', *options, *weights]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in told] == [
        'from the start of a process',
        'from the start of the node',
    ]
    steps = [part.split() for part in told[1].split(': ')[1].split(', ')]
    assert [step for step, *_ in steps] == [step for step in STEPS if step != 'frame']
    seconds = [float(number) for _, number, _ in steps]
    assert seconds == sorted(seconds)


def test_a_node_that_cannot_start_says_why(golden_files):
    pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')
    with pytest.raises(ValueError, match=r"(?s)ended with exit code 1.*'nowhere'"):
        measure_node_start({**golden_files, 'device': 'nowhere'})


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (['--batches', '0'], 'at least 1'),
        (['--compare', '/'], 'not a checkout'),
        (['--random-weights', '--model', 'ViT-Z-1'], "architecture, got 'ViT-Z-1'"),
    ],
)
def test_wrong_use(options, reason, capsys, tmp_path):
    assert cli.main(['benchmark', *options, '--output', str(tmp_path)]) == 1
    assert reason in capsys.readouterr().err


def test_wrong_size(capsys):
    with pytest.raises(SystemExit):
        cli.main(['benchmark', '--sizes', '640'])
    assert '640x480' in capsys.readouterr().err


def test_time_per_further_image_of_a_batch():
    one = BenchmarkRow(
        (48, 64), (3, 4), 1, 'fp32', 3, {}, (5.0, 6.0), (4.0, 5.0), 2.0, 100.0, 1.0, 1.0, 1.0
    )
    four = replace(one, batch=4, images_per_s=6.0, peak_memory_mib=130.0)
    other = replace(four, precision='bf16')  # has no batch of 1 to compare with
    lines = report._batch_table([one, four, other]).splitlines()
    assert lines[2:] == ['| 64x48 | 4 | fp32 | 6.00 | 3.00 | 10 |']
    assert report._batch_table([one, other]) == ''


def test_objects_are_timed(capsys):
    ticks = iter(range(1000))
    count, *times_ms = time_objects((120, 160), 5, 3, lambda: next(ticks))
    assert times_ms == [1000.0] * 3
    assert count >= 5 + 3
    assert cli.main(['benchmark', '--only-objects', '--sizes', '64x48']) == 0
    of_objects, of_questions = capsys.readouterr().out.splitlines()
    assert of_objects.startswith('64x48, ')
    assert of_questions.startswith('64x48: compare ')


def test_questions_are_timed(monkeypatch):
    """Each step once a round, and what is looked for is there."""
    asked = []

    def find(*given):
        asked.append((given[5] is not None, len(find_in(*given))))

    monkeypatch.setattr(questions, 'find_in', find)
    ticks = iter(range(1000))
    times_ms = time_questions((240, 320), 20, 2, lambda: next(ticks))
    assert set(times_ms.values()) == {1000.0}
    assert asked == [(False, 2), (True, 2)] * 2


@pytest.mark.parametrize(
    ('options', 'quantized'),
    [(('--precisions', 'bf16', 'fp32'), False), (('--precision', 'int8'), True)],
)
def test_only_the_start_in_int8_reads_a_quantized_tower(monkeypatch, options, quantized):
    """With another precision it is refused."""
    started = []
    for name in ('measure_start', 'measure_node_start'):
        monkeypatch.setattr(command, name, lambda given, _: started.append(given) or {})
    words = ('benchmark', '--model', 'demo', '--only-start', '--quantized', 'tower', *options)
    assert cli.main([*words]) == 0
    told = [{name.removeprefix('--') for name in given} for given in started]  # options, parameters
    assert told
    assert all(('quantized' in names) == quantized for names in told)
