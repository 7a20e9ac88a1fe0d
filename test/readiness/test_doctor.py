# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser doctor`: what is missing is named, with what to do, whatever is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from web_server import served_hub

from clip_dinoiser_ros import cli
from clip_dinoiser_ros.core import sources
from clip_dinoiser_ros.readiness import software

REPOSITORY, REVISION = sources.PINNED[sources.MODEL, sources.PRETRAINED]
CLIP = f'/{REPOSITORY}/resolve/{REVISION}/{sources.CLIP_FILES[0]}'
SIZE = 3_000_000


@pytest.fixture
def web(monkeypatch, tmp_path):
    """A hub with something as large as 3 MB for CLIP, and heads; nothing is here yet."""
    with served_hub(monkeypatch, tmp_path) as web:
        web.revision = REVISION
        web.files = {CLIP: bytes(SIZE), '/last.pt': bytes(SIZE)}
        yield web


@pytest.fixture
def given(golden_files):
    """Arguments that name weights in files."""
    return [word for name, path in golden_files.items() for word in (f'--{name}', path)]


def examine(capsys, *arguments):
    """Return exit code and findings by what they are about."""
    code = cli.main(['doctor', '--json', *arguments])
    content = json.loads(capsys.readouterr().out)
    assert content['ready'] == (code == 0)
    return code, {finding['about']: finding for finding in content['findings']}


def test_everything_is_installed(capsys, given):
    code, found = examine(capsys, *given, '--device', 'cpu', '--precision', 'fp32')
    assert code == 0
    assert {finding['level'] for finding in found.values()} <= {'ok', 'note'}
    assert found['Python']['text'].endswith(sys.executable)
    assert found['device']['text'].startswith('cpu in fp32')
    assert found['ROS']['level'] == found['CLIP']['level'] == found['heads']['level'] == 'ok'


def test_a_page_for_people(capsys, given):
    assert cli.main(['doctor', *given]) == 0
    page = capsys.readouterr().out.splitlines()
    assert page[-1] == 'The node can start'
    assert len(page) < 40
    assert cli.main(['doctor', *given, '--heads', 'nowhere.pt']) == 1
    page = capsys.readouterr().out.splitlines()
    assert page[-1] == 'The node cannot start: heads'
    assert 'missing  heads: nowhere.pt is not a file' in page
    assert (
        page[page.index('missing  heads: nowhere.pt is not a file') + 1].lstrip().startswith('->')
    )


def test_the_shipped_model_needs_no_download(capsys):
    code, found = examine(capsys, '--model', 'demo')
    assert (code, found['model demo']['level']) == (0, 'ok')
    assert 'CLIP' not in found


@pytest.mark.parametrize(
    ('module', 'about', 'advice'),
    [
        ('vision_msgs.msg', 'vision_msgs', 'vision-msgs'),
        ('clip_dinoiser_ros.msg', 'messages of clip_dinoiser_ros', 'colcon build'),
        ('rclpy', 'ROS', ''),
        ('cv2', 'opencv-python-headless', 'pip install'),
        ('safetensors', 'safetensors', 'pip install'),
    ],
)
def test_one_thing_is_missing(capsys, monkeypatch, given, module, about, advice):
    monkeypatch.setitem(sys.modules, module, None)  # Python then says that there is none
    code, found = examine(capsys, *given)
    assert code == 1
    assert found[about]['level'] == 'missing'
    assert advice in found[about]['advice'] != ''


@pytest.mark.parametrize('module', ['cv_bridge', 'launch_ros'])
def test_optional_items_do_not_fail(capsys, monkeypatch, given, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, found = examine(capsys, *given)
    assert (code, found[module]['level']) == (0, 'note')


def test_everything_is_missing():
    """As in a Python that has nothing but its own library."""
    missing = ('torch', 'numpy', 'open_clip', 'huggingface_hub', 'safetensors', 'cv2', 'rclpy')
    code = (
        f'import sys\nsys.modules.update(dict.fromkeys({missing}))\n'
        'from clip_dinoiser_ros import cli\nsys.exit(cli.main(["doctor", "--json"]))'
    )
    ended = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'HF_HUB_OFFLINE': '1'},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, '')
    levels = {f['about']: f['level'] for f in json.loads(ended.stdout)['findings']}
    assert levels['Python'] == 'ok'
    assert levels['torch'] == levels['ROS'] == levels['numpy'] == 'missing'


def test_a_torchvision_of_another_torch(capsys, monkeypatch, given, tmp_path):
    (tmp_path / 'open_clip.py').write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'open_clip', raising=False)
    _, found = examine(capsys, *given)
    assert 'torch and torchvision must match' in found['open_clip_torch']['advice']


def test_versions_that_are_too_old(capsys, monkeypatch, given):
    import torch

    monkeypatch.setattr(torch, '__version__', '2.9.1+cpu')
    monkeypatch.setattr(software, 'OLDEST_PYTHON', (4, 0))
    code, found = examine(capsys, *given)
    assert code == 1
    assert found['torch']['advice'] == 'pip install "torch>=2.10"'
    assert found['Python']['advice'] == 'use Python 4.0 or newer'


def test_a_device_that_is_not_there(capsys, given):
    code, found = examine(capsys, *given, '--device', 'cuda:77')
    assert (code, found['device']['level']) == (1, 'missing')
    assert "'cuda:77' does not exist" in found['device']['text']


def test_weights_that_the_first_start_would_download(capsys, web):
    part = sources.repository_folder(sources.MODEL, sources.PRETRAINED) / 'blobs' / 'abc.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1_000_000))
    code, found = examine(capsys)
    assert code == 0
    for about, here in (('CLIP', ', 1 MB of them are here'), ('heads', '')):
        assert found[about]['level'] == 'note'
        assert f'the first start downloads 3 MB{here}, from {web.url}' in found[about]['text']
        assert found[about]['advice'].endswith('clip-dinoiser download')
    assert all(method == 'HEAD' or path == '/last.pt' for method, path, _ in web.requests)


def test_weights_that_cannot_be_downloaded(capsys, web):
    web.files.clear()
    code, found = examine(capsys)
    assert code == 1
    for about in ('CLIP', 'heads'):
        assert '404' in found[about]['text']
        assert 'clip-dinoiser download DIR' in found[about]['advice']


def test_offline(capsys, web, monkeypatch):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    code, found = examine(capsys)
    assert code == 1
    assert all('HF_HUB_OFFLINE' in found[about]['text'] for about in ('CLIP', 'heads'))
    assert web.requests == []


def test_heads_that_are_here(capsys, web, monkeypatch):
    monkeypatch.setattr(sources, 'AUTHORS_BLOB', 'ce013625030ba8dba906f756967f9e9ca394464a')
    sources.authors_path().parent.mkdir(parents=True)
    sources.authors_path().write_bytes(b'hello\n')
    _, found = examine(capsys)
    assert found['heads']['level'] == 'ok'


def test_embeddings_that_are_kept(capsys, given, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('CLIP_DINOISER_CACHE', raising=False)
    folder = tmp_path / 'clip_dinoiser_ros' / 'embeddings'
    folder.mkdir(parents=True)
    (folder / 'abc.embedding').write_bytes(b'')
    assert examine(capsys, *given)[1]['text embeddings']['text'] == f'1 in {folder}'
    monkeypatch.setenv('CLIP_DINOISER_CACHE', 'off')
    assert examine(capsys, *given)[1]['text embeddings']['text'] == 'off, by CLIP_DINOISER_CACHE'


def test_a_gpu(capsys, given, monkeypatch):
    """A stand-in for one: there is none here."""
    import torch

    from clip_dinoiser_ros.core import segmenter, upsample_triton

    monkeypatch.setattr(segmenter, 'find_device', lambda _: torch.device('cuda', 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'a GPU')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (9, 0))
    monkeypatch.setattr(upsample_triton, 'usable', lambda _: True)
    _, found = examine(capsys, *given)
    assert found['device']['text'] == 'cuda:0 in bf16, a GPU, CUDA graphs, Triton kernel'
    monkeypatch.setattr(upsample_triton, 'usable', lambda _: False)
    monkeypatch.setattr(software.shutil, 'which', lambda _: None)
    _, found = examine(capsys, *given)
    assert (found['device']['level'], found['device']['advice']) == (
        'note',
        'sudo apt install gcc python3-dev',
    )


def test_caches_that_cannot_be_written(capsys, given, monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'file'))
    code, found = examine(capsys, *given)
    assert code == 0
    notes = [finding for about, finding in found.items() if about.startswith('cache ')]
    assert [note['level'] for note in notes] == ['note', 'note']
    assert 'set HF_HOME' in notes[0]['advice']
    assert 'set XDG_CACHE_HOME' in notes[1]['advice']
    assert list(tmp_path.iterdir()) == [Path(tmp_path / 'file')]
