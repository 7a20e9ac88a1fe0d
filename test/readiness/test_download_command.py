# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser download` against a hub on loopback; the golden model stands for the real one."""

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from web_server import served_hub

from clip_dinoiser_ros import cli
from clip_dinoiser_ros.core import sources, transfer
from clip_dinoiser_ros.readiness import download_command

REPOSITORY, REVISION = 'somebody/golden', '1' * 40


@pytest.fixture
def web(monkeypatch, tmp_path, golden_files, golden_heads):
    """A hub with the golden CLIP, and golden heads as the authors'."""
    model = golden_files['model']
    monkeypatch.setattr(download_command, 'MODEL', model)
    monkeypatch.setitem(sources.PINNED, (model, sources.PRETRAINED), (REPOSITORY, REVISION))
    heads = tmp_path / 'golden.pt'
    torch.save({'model_state_dict': golden_heads}, heads)
    monkeypatch.setattr(sources, 'AUTHORS_BLOB', transfer.digest_of(heads, 40))
    with served_hub(monkeypatch, tmp_path) as web:
        web.revision = REVISION
        name = f'/{REPOSITORY}/resolve/{REVISION}/{sources.CLIP_FILES[0]}'
        web.files[name] = Path(golden_files['pretrained']).read_bytes()
        web.files['/last.pt'] = heads.read_bytes()
        yield web


def test_files_for_another_machine(web, tmp_path, capsys, golden_files):
    folder = tmp_path / 'a stick' / 'weights'
    web.breaks = [100_000, 20_000]
    assert cli.main(['download', str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        'last.pt',
        'open_clip_model.safetensors',
    ]
    assert (folder / 'open_clip_model.safetensors').read_bytes() == Path(
        golden_files['pretrained']
    ).read_bytes()
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith('  ros2 launch'))
    given = dict(word.split(':=') for word in shlex.split(line)[4:])
    assert {name: Path(path).is_file() for name, path in given.items()} == {
        'pretrained': True,
        'heads': True,
    }
    assert f"    heads: '{folder}/last.pt'" in told.splitlines()
    assert transfer.digest_of(folder / 'last.pt', 64) in told

    asked, before = len(web.requests), (folder / 'last.pt').stat().st_mtime_ns
    (folder / 'open_clip_model.safetensors').write_bytes(b'damaged')
    assert cli.main(['download', str(folder)]) == 0  # from the caches, without a network
    assert len(web.requests) == asked
    assert (folder / 'last.pt').stat().st_mtime_ns == before
    assert (folder / 'open_clip_model.safetensors').stat().st_size > 7


def test_the_caches_of_this_machine(web, tmp_path, capsys, golden_files, monkeypatch):
    assert cli.main(['download']) == 0
    assert 'The node finds them there by itself' in capsys.readouterr().out
    web.files.clear()
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    clip = sources.local_clip(golden_files['model'], sources.PRETRAINED)
    assert clip.is_relative_to(tmp_path / 'hf')
    assert sources.authors_heads().is_relative_to(tmp_path / 'cache')


def test_a_mirror_of_the_heads(web):
    web.files['/mirror.pt'] = web.files.pop('/last.pt')
    assert cli.main(['download', '--heads', f'{web.url}/mirror.pt']) == 0


def test_failed_downloads_are_named(web, tmp_path, capsys):
    del web.files['/last.pt']
    assert cli.main(['download', str(tmp_path / 'weights')]) == 1
    told = capsys.readouterr().err
    assert "clip-dinoiser download: 'authors' cannot be downloaded: HTTP Error 404" in told
    assert not (tmp_path / 'weights').exists()


def test_a_disk_without_room_for_the_copy(web, tmp_path, capsys, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(b'a beginning')
        raise OSError(28, 'No space left on device', str(target))

    monkeypatch.setattr(shutil, 'copyfile', full)
    assert cli.main(['download', str(tmp_path / 'weights')]) == 1
    assert 'No space left on device' in capsys.readouterr().err
    assert list((tmp_path / 'weights').iterdir()) == []
