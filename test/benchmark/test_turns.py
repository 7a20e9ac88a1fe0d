# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Forms in turn: what others disturb is repeated, and told where it cannot be."""

import itertools
import time

import numpy as np
import pytest

from clip_dinoiser_ros.benchmark import command, report
from clip_dinoiser_ros.benchmark.machine import CpuTimes, cpu_times
from clip_dinoiser_ros.benchmark.turns import ROUNDS, TRIES, measure_turns

STAT = (
    'cpu  100 20 30 999 5 1 2 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5\n'
)


def busy(shares):
    """Readings of a machine with one processor, of which others use these parts, turn by turn."""
    now = [0.0, 0.0]

    def read():
        reading = CpuTimes(now[0], now[1], 0.0)
        if read.count % 2 == 0:  # a turn begins
            now[0] += 1.0
            now[1] += next(shares)
        read.count += 1
        return reading

    read.count = 0
    return read


def forms(called):
    def form(name, label):
        def segment():
            called.append(name)
            return np.array([[label, 0]])

        return segment

    return {'first': form('first', 0), 'second': form('second', 1)}


def test_on_a_quiet_machine_each_form_has_its_turns():
    called = []
    rows = measure_turns(forms(called), 0.0, busy(itertools.repeat(0.01)))
    assert called == ['first', 'second'] * (ROUNDS + 1)  # one to warm up
    assert [row.name for row in rows] == ['first', 'second']
    assert [row.repeated for row in rows] == [0, 0]
    assert [row.same_labels for row in rows] == [1.0, 0.5]
    assert rows[0].ratio == 1.0
    assert rows[1].others == pytest.approx(0.01)
    assert 'Measure again' not in report._turns_table(rows)


def test_a_disturbed_turn_is_repeated():
    called = []
    shares = itertools.chain([0.01, 0.9], itertools.repeat(0.01))  # the first turn of the second
    first, second = measure_turns(forms(called), 0.0, busy(shares))
    assert (first.repeated, second.repeated) == (0, 1)
    assert called.count('second') == ROUNDS + 2
    assert second.others == pytest.approx(0.01)


def test_a_machine_that_is_never_quiet():
    rows = measure_turns(forms([]), 0.0, busy(itertools.repeat(0.5)))
    assert [row.repeated for row in rows] == [TRIES - ROUNDS] * 2
    assert [row.others for row in rows] == pytest.approx([0.5, 0.5])
    assert 'in every try of: first, second. Measure again' in report._turns_table(rows)


def test_a_system_that_does_not_tell():
    rows = measure_turns(forms([]), 0.0, lambda: None)
    assert [row.others for row in rows] == [None, None]
    assert 'not known' in report._turns_table(rows)


def test_the_time_is_that_of_the_quiet_turns():
    """A form that takes 1 s alone and 4 s beside others."""
    clock = iter(itertools.accumulate(itertools.cycle([4.0] * 4 + [1.0] * 4 * ROUNDS)))
    shares = itertools.chain([0.8], itertools.repeat(0.0))
    one = {'one': lambda: np.zeros((1, 1))}
    (row,) = measure_turns(one, 0.0, busy(shares), lambda: next(clock))
    assert row.ms == 1000.0


def test_the_command_measures_cpu_time_in_turn(golden_segmenter, golden_prompts, monkeypatch):
    """On a machine that is never quiet, too: one turn of each round, and the clock of the CPU."""
    used = []

    def process_time():
        used.append(2.0 * len(used))
        return used[-1]

    monkeypatch.setattr(command.time, 'process_time', process_time)
    forms = {'a': golden_segmenter, 'b': golden_segmenter}
    rows = command._in_turn(None, forms, golden_prompts, (48, 64), 0.0, cpu_time=True)
    assert [row.ms for row in rows] == [2000.0, 2000.0]
    assert [row.repeated for row in rows] == [0, 0]
    assert 'Measure again' not in report._turns_table(rows)


def test_readings_of_the_kernel(tmp_path):
    stat = tmp_path / 'stat'
    stat.write_text(STAT)
    first = cpu_times(stat)
    assert first.busy_s == pytest.approx(160 / 100)  # all but idle and waiting for a disk
    later = CpuTimes(first.wall_s + 4.0, first.busy_s + 3.0, first.own_s + 1.0)
    assert first.others_until(later) == pytest.approx(0.5)
    assert cpu_times(tmp_path / 'missing') is None
    stat.write_text('something else\n')
    assert cpu_times(stat) is None


def test_own_work_is_part_of_all_work():
    before = cpu_times()
    if before is None:
        pytest.skip('no /proc/stat here')
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    after = cpu_times()
    assert after.own_s - before.own_s >= 0.5
    assert after.busy_s - before.busy_s >= 0.45  # the kernel counts in steps of 0.01 s
