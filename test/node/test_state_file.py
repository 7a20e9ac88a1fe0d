# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The state file and the marker beside it, without a node."""

import contextlib
import json
from pathlib import Path

import pytest

from clip_dinoiser_ros.node.kept_state import KeptState
from clip_dinoiser_ros.node.run_marker import RunMarker, restart_delay_s
from clip_dinoiser_ros.node.state_file import (
    State,
    StateError,
    read_state,
    state_path,
    write_state,
)

WORDS = {'prompts': ['a', 'ü'], 'negative_prompts': [], 'background': '', 'templates': 'none'}
OTHERS = {**WORDS, 'prompts': ['b']}
STATE = State({'ü': 3, 'a': 0}, 7, WORDS, OTHERS)


class Logger:
    def __init__(self):
        self.warnings = []

    def warning(self, text):
        self.warnings.append(text)


def run(path, given=WORDS):
    """Begin a run; return it, what is restored and what was warned of."""
    logger = Logger()
    kept = KeptState(str(path), '/clip_dinoiser', logger)
    return kept, kept.begin(given), logger.warnings


def test_state_file_round_trip_keeps_the_order(tmp_path):
    path = tmp_path / 'deep/state.json'
    assert read_state(path) is None
    write_state(path, State())
    write_state(path, STATE)
    assert read_state(path) == STATE
    assert list(read_state(path).ids) == ['ü', 'a']
    assert [file.name for file in path.parent.iterdir()] == ['state.json']


def test_every_damage_is_noticed(tmp_path):
    path = tmp_path / 'state.json'
    write_state(path, STATE)
    whole = path.read_bytes()
    for index in range(len(whole)):
        for damaged in (
            whole[:index],
            whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :],
        ):
            path.write_bytes(damaged)
            with contextlib.suppress(StateError):
                assert read_state(path) == STATE  # a space more or less
    for odd in ('[]', '{}', '{"state": 1, "sha256": 2}', '[' * 10**5):
        path.write_text(odd)
        with pytest.raises(StateError):
            read_state(path)


def test_a_state_of_another_version_of_the_program(tmp_path):
    path = tmp_path / 'state.json'
    write_state(path, STATE)
    content = json.loads(path.read_text())
    from clip_dinoiser_ros.node.state_file import _digest

    content['state']['more'] = 1
    path.write_text(json.dumps({'state': content['state'], 'sha256': _digest(content['state'])}))
    with pytest.raises(StateError, match='another version'):
        read_state(path)


def test_default_path_of_the_state_file(monkeypatch, tmp_path):
    monkeypatch.setenv('ROS_HOME', str(tmp_path))
    folder = tmp_path / 'clip_dinoiser_ros'
    assert state_path('auto', '/clip_dinoiser') == folder / 'clip_dinoiser.json'
    assert state_path('auto', '/robot/front/eyes') == folder / 'robot/front/eyes.json'
    assert state_path('', '/clip_dinoiser') is None
    assert state_path('/var/ids', '/clip_dinoiser') == Path('/var/ids')
    monkeypatch.delenv('ROS_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert state_path('auto', '/n') == tmp_path / '.ros/clip_dinoiser_ros/n.json'
    assert state_path('~/ids', '/n') == tmp_path / 'ids'


def test_runtime_prompts_come_back_after_a_failure_only(tmp_path):
    path = tmp_path / 'state.json'
    kept, restored, _ = run(path)
    assert restored is None
    kept.save({'b': 0}, 1, OTHERS)
    kept.close()  # as when it is killed
    for failures in (1, 2):  # also when the next run fails before it is configured
        kept, restored, _ = run(path)
        assert (restored, kept.unclean_ends) == (OTHERS, failures)
        assert (kept.before.ids, kept.before.version) == ({'b': 0}, 1)
        kept.close()
    kept, _, _ = run(path)
    kept.end_cleanly()
    kept.close()
    kept, restored, warnings = run(path)
    assert (restored, kept.unclean_ends, kept.before.ids) == (None, 0, {'b': 0})
    assert not warnings
    kept.close()  # killed before it was configured: what the run before had set is gone
    assert run(path)[1] is None


def test_a_changed_parameter_file_wins_over_runtime_prompts(tmp_path):
    path = tmp_path / 'state.json'
    kept, _, _ = run(path)
    kept.save({'b': 0}, 1, OTHERS)
    kept.close()
    assert run(path, {**WORDS, 'prompts': ['c']})[1] is None


def test_a_damaged_file_is_told_and_replaced(tmp_path):
    path = tmp_path / 'state.json'
    path.write_text('{')
    kept, _, (warning,) = run(path)
    assert 'cannot be used: not a state file' in warning
    assert kept.before == State()
    assert read_state(path) == State({}, 0, WORDS, WORDS)


def test_one_file_has_one_node(tmp_path):
    path = tmp_path / 'state.json'
    first, _, _ = run(path)
    first.save({'a': 5}, 1, WORDS)
    second, _, (warning,) = run(path)
    assert 'is in use: another node has the same name' in warning
    assert (second.before, second.unclean_ends) == (State(), 0)
    second.save({'z': 0}, 9, WORDS)
    second.end_cleanly()
    second.close()
    assert read_state(path).ids == {'a': 5}
    first.close()
    assert run(path)[0].unclean_ends == 1  # the clean end was that of the second


@pytest.mark.parametrize('place', ['file/state.json', 'folder', '/proc/none/state.json'])
def test_unwritable_state_file_is_logged_once(tmp_path, place):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    kept, restored, warnings = run(tmp_path / place)
    assert restored is None
    for version in (1, 2):
        kept.save({'a': 0}, version, WORDS)
    kept.last()
    kept.end_cleanly()
    kept.close()
    assert sum('cannot be written' in warning for warning in warnings) == 1


def test_runs_are_told_apart():
    assert KeptState('', '/n', Logger()).run_id != KeptState('', '/n', Logger()).run_id


def test_failures_are_counted_until_a_run_lasts_or_ends_cleanly(tmp_path):
    path = tmp_path / 'running'
    for failures in range(4):
        marker = RunMarker(path)
        assert marker.unclean_ends == failures
        marker.close()
    marker = RunMarker(path)
    marker.last()
    marker.close()
    marker = RunMarker(path)
    assert marker.unclean_ends == 1
    marker.end_cleanly()
    assert not path.exists()
    marker.close()
    path.write_text('nonsense')
    assert RunMarker(path).unclean_ends == 1


def test_delays_double_up_to_a_minute():
    with_respawn = [restart_delay_s(failures) + 2 for failures in range(1, 9)]
    assert with_respawn == [2, 4, 8, 16, 32, 60, 60, 60]
    assert restart_delay_s(0) == 0
    assert restart_delay_s(10**6) == 58
