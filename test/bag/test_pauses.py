# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clocks that are set while a recorder runs: video, report and selection stay usable."""

import re

import numpy as np
import pytest
from bags import SECOND, START_NS, image_message, read, write

from clip_dinoiser_ros.bag.pauses import LONGEST_PAUSE_NS, WithoutPauses

AFTER_BOOT = 20 * SECOND  # in 1970


def frames(*times):
    image = np.zeros((32, 48, 3), np.uint8)
    return [('/a/image', time_ns, image_message(image, time_ns)) for time_ns in times]


def test_only_long_pauses_are_passed_over():
    time = WithoutPauses(START_NS)
    hour = LONGEST_PAUSE_NS
    assert time.since_start_ns(0) == -START_NS  # before the clock was there
    assert time.since_start_ns(START_NS + hour) == hour
    assert time.since_start_ns(START_NS + 5 * hour) == hour
    assert time.since_start_ns(START_NS + 5 * hour + 7) == hour + 7
    assert time.passed_over_ns == 4 * hour


@pytest.mark.parametrize(
    'early', [(0, 0), (AFTER_BOOT, AFTER_BOOT + SECOND // 10)], ids=['no clock', '1970']
)
def test_video_and_report_of_a_recording_whose_clock_was_set(run_quickly, tmp_path, early):
    av = pytest.importorskip('av', reason='no PyAV')
    later = [START_NS + i * SECOND // 10 for i in range(4)]
    bag = write(tmp_path / 'in', frames(*early, *later))
    options = ('--video', tmp_path / 'a.mp4', '--report', tmp_path / 'a.html')
    assert run_quickly('bag', bag, tmp_path / 'out', *options) == 0
    labels = [time_ns for topic, time_ns, _ in read(tmp_path / 'out') if topic.endswith('/labels')]
    assert labels == [*early, *later]
    with av.open(str(tmp_path / 'a.mp4')) as video:
        shown = [frame.time for frame in video.decode(video=0)]
    assert len(shown) == 6
    assert shown[-1] < 0.6
    assert '-' not in re.findall('([-0-9.]+) s<', (tmp_path / 'a.html').read_text())[0]


def test_seconds_count_from_where_the_clock_was_there(run_quickly, tmp_path):
    later = [START_NS + i * SECOND // 10 for i in range(6)]
    bag = write(tmp_path / 'in', frames(0, 0, *later))
    assert run_quickly('bag', bag, tmp_path / 'out', '--start', '0.2', '--end', '0.4') == 0
    labels = [time_ns for topic, time_ns, _ in read(tmp_path / 'out') if topic.endswith('/labels')]
    assert labels == later[2:4]
