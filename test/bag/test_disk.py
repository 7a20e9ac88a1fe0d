# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A disk that fills up, and places that results must not reach."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bags import SECOND, START_NS, image_message, raw, read, write
from quick_model import ARGUMENTS

TOPIC = '/camera/image_raw'
FRAMES = 40
PROGRAM = Path(__file__).parent / 'quick_model.py'


@pytest.fixture(scope='module')
def source(tmp_path_factory, picture):
    """The result of it takes 2.7 MB."""
    image = np.ascontiguousarray(picture['image'])
    messages = [
        (TOPIC, START_NS + i * SECOND, image_message(image, START_NS + i * SECOND))
        for i in range(FRAMES)
    ]
    return write(tmp_path_factory.mktemp('source') / 'in', messages)


def segment(source: Path, out: Path, *options: str, file_bytes: int | None = None):
    """Run the command in a process of its own, whose files may have so many bytes."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    # the limit must not be met by what `make coverage` writes in that process
    environment = {k: v for k, v in os.environ.items() if not k.startswith('COVERAGE_')}
    return subprocess.run(
        [sys.executable, PROGRAM, 'bag', source, out, *ARGUMENTS, *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
        check=False,
    )


def assert_resumable(ended: subprocess.CompletedProcess, out: Path) -> None:
    assert ended.returncode == 1, ended.stderr
    assert '--resume continues' in ended.stderr
    assert 'Traceback' not in ended.stderr
    assert {path.name for path in out.parent.iterdir()} == {f'{out.name}.partial'}


@pytest.mark.parametrize(
    ('out', 'file_bytes'),
    [
        ('out', 0),
        pytest.param('out', 500, marks=pytest.mark.long),
        pytest.param('out.mcap', 1_300_000, marks=pytest.mark.long),
        pytest.param('out.db3', 1_300_000, marks=pytest.mark.long),
        pytest.param('out', 2_600_000, marks=pytest.mark.long),
    ],
)
def test_full_disk_and_resume(run_quickly, tmp_path, source, out, file_bytes):
    out = tmp_path / 'results' / out
    assert_resumable(segment(source, out, file_bytes=file_bytes), out)
    assert run_quickly('bag', source, out, '--resume') == 0
    assert len([1 for topic, _, _ in raw(out) if topic.endswith('/labels')]) == FRAMES
    assert {path.name for path in out.parent.iterdir()} == {out.name}


@pytest.mark.long
def test_full_file_system(small_disk, source):
    out = small_disk / 'out'
    ended = segment(source, out)
    assert_resumable(ended, out)
    assert 'No space left on device' in ended.stderr
    again = segment(source, out, '--resume')  # as full as before: nothing is lost by trying
    assert_resumable(again, out)
    subprocess.run(['mount', '-o', 'remount,size=16m', small_disk], check=True)
    assert segment(source, out, '--resume').returncode == 0
    assert len([1 for topic, _, _ in read(out) if topic.endswith('/labels')]) == FRAMES


def test_existing_files_are_not_used_as_partial_files(run_quickly, tmp_path, source):
    page, mine = tmp_path / 'page.html', tmp_path / 'mine'
    mine.write_text('mine')
    (tmp_path / 'page.html.partial').symlink_to(mine)
    options = ('--every', '20', '--report', page)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    assert mine.read_text() == 'mine'
    assert page.stat().st_size > 0


@pytest.mark.parametrize('name', ['out', 'out.mcap', 'out.partial', 'page.html', 'film.mp4'])
@pytest.mark.parametrize('there', [True, False])
def test_nothing_is_written_through_a_link(run_quickly, tmp_path, source, capsys, name, there):
    elsewhere, results = tmp_path / 'elsewhere', tmp_path / 'results'
    results.mkdir()
    if there:
        elsewhere.mkdir() if name in ('out', 'out.partial') else elsewhere.write_text('mine')
    (results / name).symlink_to(elsewhere)
    out = results / ('out.mcap' if name == 'out.mcap' else 'out')
    options = ['--report', results / 'page.html', '--video', results / 'film.mp4', '--force']
    assert run_quickly('bag', source, out, '--every', '20', *options) == 1
    assert f'{results / name} is a link to {elsewhere}' in capsys.readouterr().err
    assert [path.name for path in results.iterdir()] == [name]
    assert elsewhere.exists() == there
    assert not there or elsewhere.is_dir() or elsewhere.read_text() == 'mine'


def test_names_from_outside_stay_inside(run_quickly, tmp_path, picture):
    """Topics are texts of the recording: they name cameras, and through them files."""
    image = image_message(np.ascontiguousarray(picture['image']), START_NS)
    topics = ['/../../etc/image_raw', '/a\x00b/../c', '/"><script>/image_raw']
    bag = write(tmp_path / 'in', [(topic, START_NS, image) for topic in topics])
    results = tmp_path / 'deep' / 'results'
    results.mkdir(parents=True)
    options = ['--report', results / 'page.html', '--video', results / 'film.mp4']
    prompts = ['--prompts', '../../x', '/etc/passwd', '<script>alert(1)</script>']
    assert run_quickly('bag', bag, results / 'out', *options, *prompts) == 0
    assert {path.name for path in tmp_path.iterdir()} == {'in', 'deep'}
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['results']
    films = {f'film_{name}.mp4' for name in ('etc', 'a_b_c', 'script')}
    assert {path.name for path in results.iterdir()} == {'out', 'page.html', *films}
    topics = {topic for topic, _, _ in raw(results / 'out')}
    assert len(topics) >= 3 * 5  # five outputs of each camera, at least
    assert all(topic.replace('/', '').replace('_', '').isalnum() for topic in topics)
    assert '<script>' not in (results / 'page.html').read_text()
