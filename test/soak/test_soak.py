# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The soak itself: what it calls wrong, and a short one as `make soak` does it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from witness import MAX_WAITING, Witness

SOAK = Path(__file__).parent
SECONDS = 20


@pytest.fixture
def witness():
    witness = Witness()
    witness.announce('front', 1, [0, 1, 255])
    return witness


def test_healthy_run_passes(witness):
    witness.info('front', 10, 1)
    witness.labels('front', 10, [0, 255])
    witness.labels('front', 20, [0, 7])  # announced a moment later
    witness.info('front', 20, 2)
    witness.announce('front', 2, [0, 7, 255], 30)
    assert witness.faults() == []
    assert (witness.checked, witness.segmented['front']) == (2, 2)
    assert (witness.newest_ns('front'), witness.newest_ns('rear')) == (30, 0)


@pytest.mark.parametrize(
    ('camera', 'version', 'values', 'fault'),
    [
        ('front', 2, [0], 'front: version 2 was used and never announced'),
        ('rear', 1, [0], 'rear: version 1 was used and never announced'),
        ('front', 1, [0, 7, 9], 'front: ids [7, 9] are not of version 1'),
    ],
)
def test_unexpected_outputs_are_reported(witness, camera, version, values, fault):
    witness.labels(camera, 10, values)
    witness.info(camera, 10, version)
    assert witness.faults() == [fault]


def test_versions_go_up_and_mean_one_thing(witness):
    witness.announce('front', 2, [0])
    witness.announce('front', 1, [0, 1, 255])  # again, as to a late subscriber
    witness.info('front', 10, 2)
    witness.info('front', 20, 1)
    witness.announce('front', 1, [0, 1, 2])
    assert witness.faults() == [
        'front: version 1 was used after 2',
        'front: version 1 stands for two vocabularies',
    ]


def test_late_announcements_are_waited_for(witness):
    """A long soak does not keep every frame to its end, and gives announcements their time."""
    for stamp in range(10 * MAX_WAITING):
        version = 1 + stamp // 100
        witness.info('rear', stamp, version)
        if stamp % 100 == 50:  # fifty frames late
            witness.announce('rear', version, [0])
    assert len(witness._waiting) <= MAX_WAITING
    assert witness.faults() == []


def series(per_second, at_rest):
    samples = [
        {'time_s': float(t), 'rss_mib': 500 + per_second * t, 'fds': 18, 'threads': 20}
        for t in range(600)
    ]
    for sample in samples[::24]:
        sample['rest_mib'] = 400 + at_rest * sample['time_s']
    return samples


@pytest.mark.parametrize(
    ('per_second', 'at_rest', 'wrong'),
    [
        (0.0, 0.0, []),
        (0.1, 0.0, ['resident memory']),
        (0.0, 0.1, ['resident memory after cleanup']),
    ],
)
def test_growth_is_wrong_in_a_long_run(monkeypatch, per_second, at_rest, wrong):
    monkeypatch.syspath_prepend(SOAK.parent / 'node')
    import run_soak

    soak = {'seconds': 600.0, 'samples': series(per_second, at_rest), 'faults': []}
    found = run_soak.judge({'soak': soak, 'overload': []})
    assert [fault.split(':')[0] for fault in found] == wrong
    assert run_soak.judge({'soak': {**soak, 'seconds': 20.0}, 'overload': []}) == []
    told = run_soak.judge({'soak': {**soak, 'faults': ['the node died']}, 'overload': []})
    assert told == ['the node died', *found]


def test_faults_under_overload_are_reported(monkeypatch):
    monkeypatch.syspath_prepend(SOAK.parent / 'node')
    import overload

    camera = {'age_p99': 1.2, 'age_here_p99': 1.3}
    well = {'exit_code': 0, 'rss_mib': [500, 504], 'stolen': 0.04, 'cameras': {'flood': camera}}
    assert overload.faults(well) == []
    (old,) = overload.faults({**well, 'cameras': {'flood': {**camera, 'age_here_p99': 2.5}}})
    assert old.startswith('flood: ')
    assert '4.0% of the processor' in old
    (grown,) = overload.faults({**well, 'rss_mib': [500, 540]})
    assert 'from 500 to 540 MiB' in grown
    (died,) = overload.faults({**well, 'exit_code': 1})
    assert 'exit code 1' in died


@pytest.mark.long
def test_a_short_soak(tmp_path):
    """As `make soak` runs it; so short a run is not asked for slopes and ages."""
    paths = [str(SOAK), str(SOAK.parent / 'node'), str(SOAK.parent), os.environ['PYTHONPATH']]
    done = subprocess.run(
        [sys.executable, SOAK / 'run_soak.py', '--seconds', str(SECONDS), '--output', tmp_path],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'soak: passed' in done.stdout
    result = json.loads((tmp_path / 'soak.json').read_text())
    samples = [s for s in result['soak']['samples'] if 'rest_mib' not in s]
    at_rest = [s['rest_mib'] for s in result['soak']['samples'] if 'rest_mib' in s]
    assert at_rest[0] > 100
    assert len(samples) >= 3
    assert all(s['rss_mib'] > 100 and s['fds'] > 3 and s['threads'] > 3 for s in samples)
    assert {'rss_mib', 'fds', 'threads', 'page_rss_mib'} <= result['trends'].keys()
    assert result['soak']['segmented'].keys() == {'front', 'rear'}
    counts = result['soak']['counts']
    for kind in (
        *('good frames', 'damaged frames', 'prompts changed', 'label images checked'),
        *('requests answered', 'requests refused'),
        *('viewers that came and went', 'frames shown to viewers'),
    ):
        assert counts[kind] > 0, kind
    for of_overload in result['overload']:
        assert 0 <= of_overload['stolen'] <= 1
        for camera in of_overload['cameras'].values():
            assert camera['received'] >= camera['segmented'] > 0
    drawing = cv2.imread(str(tmp_path / 'soak.png'))
    assert drawing.shape[1] == 1200
    assert len(np.unique(drawing.reshape(-1, 3), axis=0)) > 10
