# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command around the actors: what it refuses, goes on with, reports. No Ray is needed."""

import json
from pathlib import Path

import pytest
from bags import START_NS, text_message, write
from drives import comparable, frames

from clip_dinoiser_ros.fleet import cluster_arguments, command
from clip_dinoiser_ros.fleet import worker as worker_module
from clip_dinoiser_ros.fleet.worker import Unit, Worker

DIGESTS = {'model': 'a', 'pretrained': 'b', 'heads': 'c', 'templates': 'd', 'quantized': 'e'}
FILES = {'.fleet', 'a.mcap', 'b.mcap', 'fleet_report.html', 'fleet_report.json'}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """One worker in this process does what actors would do."""

    def work(args, recordings, outcome):
        worker = Worker(args, 1)
        run = outcome.run_digest(worker.start())
        units = [Unit('divide', one) for one in recordings if command._is_large(args, one)]
        units += [Unit('whole', one) for one in recordings if not command._is_large(args, one)]
        with outcome.progress():
            while units:
                unit = units.pop()
                try:
                    units += outcome.done(unit, worker.run(unit, run))
                except (ValueError, OSError) as error:
                    outcome.failed(unit, str(error))

    def digests(args):  # the stand-in has no files
        heads = Path(args.heads)
        return DIGESTS | ({'heads': heads.read_text()} if heads.is_file() else {})

    monkeypatch.setattr(command, '_work', work)
    monkeypatch.setattr(worker_module, 'model_digests', digests)
    monkeypatch.setattr(command, 'set_up_ray', lambda address: None)


@pytest.fixture
def sources(tmp_path, picture):
    folder = tmp_path / 'in'
    folder.mkdir()
    for seed, name in enumerate('ab'):
        write(folder / name, frames(picture, 5, seed))
    return folder


def test_outputs_and_reports(quickly, sources, tmp_path, picture, capsys):
    write(sources / 'c', frames(picture, 9, 2, damaged=(2,)))
    write(sources / 'd', [('/talk', START_NS, text_message('no camera here'))])
    assert quickly('fleet', sources, tmp_path / 'out', '--slice-gb', 1e-6) == command.FAILED
    said = capsys.readouterr().err
    assert 'failed: d: no camera found' in said
    assert '1 recordings are damaged' in said
    assert {path.name for path in (tmp_path / 'out').iterdir()} == FILES | {'c.mcap'}
    for name in 'abc':
        quickly('bag', sources / name, tmp_path / f'{name}.mcap')
        assert comparable(tmp_path / f'out/{name}.mcap') == comparable(tmp_path / f'{name}.mcap')
    report = json.loads((tmp_path / 'out/fleet_report.json').read_text())
    assert list(report['recordings']) == ['a', 'b', 'c']
    assert report['recordings']['c']['frames'] == {'camera': 8}
    assert report['recordings']['c']['rejected'] == {'camera': 1}
    assert list(report['failures']) == ['d']
    assert report['settings']['prompts'] == ['background', 'red ball', 'grass']
    assert report['model'] == DIGESTS
    page = (tmp_path / 'out/fleet_report.html').read_text()
    assert '18 in' in page
    for text in ('red ball', 'no camera found', 'c: /camera/image_raw at '):
        assert text in page
    assert '<script' not in page
    assert 'http' not in page


def test_the_same_command_does_what_is_missing(quickly, sources, tmp_path, picture):
    out = tmp_path / 'out'
    assert quickly('fleet', sources, out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob('*.mcap')}
    assert len(before) == 2
    write(sources / 'new', frames(picture, 2))
    assert quickly('fleet', sources, out) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(json.loads((out / 'fleet_report.json').read_text())['recordings']) == 3


def test_other_settings_are_refused(quickly, sources, tmp_path, capsys, monkeypatch):
    out = tmp_path / 'out'
    assert quickly('fleet', sources, out) == 0
    assert quickly('fleet', sources, out, '--every', 2) == 1
    assert 'was made with every 1, now it is 2' in capsys.readouterr().err
    monkeypatch.setattr('quick_model.ARGUMENTS', ['--prompts', 'background', 'blue ball'])
    assert quickly('fleet', sources, out) == 1
    assert "was made with prompts ['background', 'red ball'" in capsys.readouterr().err
    (sources / 'b').rename(tmp_path / 'b')
    assert quickly('fleet', sources, out, '--force') == 0
    assert {path.name for path in out.iterdir()} == FILES - {'b.mcap'}  # no mix
    assert quickly('fleet', sources, out) == 0


def test_another_model_is_refused(quickly, sources, tmp_path, capsys):
    out, heads = tmp_path / 'out', tmp_path / 'heads.safetensors'
    heads.write_bytes(b'a')
    assert quickly('fleet', sources, out, '--heads', heads) == 0
    heads.write_bytes(b'b')
    assert quickly('fleet', sources, out, '--heads', heads) == 1
    assert 'was made with heads of SHA-256' in capsys.readouterr().err


def test_another_recording_of_one_name(quickly, sources, tmp_path, capsys):
    assert quickly('fleet', sources, tmp_path / 'out') == 0
    sources.rename(tmp_path / 'later')
    assert quickly('fleet', tmp_path / 'later', tmp_path / 'out') == 1
    assert 'out/a.mcap is of ' in capsys.readouterr().err


def test_force_removes_only_what_it_made(quickly, sources, tmp_path):
    out = tmp_path / 'out'
    assert quickly('fleet', sources, out) == 0
    (out / 'mine.mcap').write_bytes(b'mine')
    assert quickly('fleet', sources, out, '--force') == 0
    assert (out / 'mine.mcap').read_bytes() == b'mine'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('IN/nowhere', 'OUT'), 'nowhere does not exist'),
        (('IN/*.db3', 'OUT'), 'matches nothing'),
        (('IN', 'IN/out'), 'would overwrite the input'),
        (('IN/a', 'IN'), 'would overwrite the input'),
        (('IN', 'IN/a/a.mcap'), 'would overwrite the input'),
        (('IN', 'OTHER'), 'has other files than those of fleet; give a new folder'),
        (('IN', 'OUT', '--actors', '0'), '--actors is 0; must be at least 1'),
        (('IN', 'OUT', '--cpus', '0'), '--cpus is 0; must be at least 1'),
        (('IN', 'OUT', '--gpus', '1.5'), '--gpus is 1.5; must be 0 to 1, or a whole number'),
        (('IN', 'OUT', '--slice-gb', '-1'), '--slice-gb is -1.0; must be at least 0'),
        (('IN', 'OUT', '--scratch', 'nowhere'), '--scratch nowhere: not a folder'),
        (('IN', 'OUT', '--every', '0'), '--every is 0; must be at least 1'),
        (('IN', 'OUT', '--negative-prompts', 'grass'), "'grass'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(quickly, sources, tmp_path, capsys, words, said):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'letter').touch()
    places = {'IN': str(sources), 'OUT': str(tmp_path / 'out'), 'OTHER': str(other)}
    given = [
        places.get(w.split('/')[0], w.split('/')[0]) + w[len(w.split('/')[0]) :] for w in words
    ]
    assert quickly('fleet', *given) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / 'out').exists()


def test_two_drivers(quickly, sources, tmp_path, capsys):
    out = tmp_path / 'out'
    with command._locked(out):
        assert quickly('fleet', sources, out) == 1
    assert 'out is in use by another clip-dinoiser fleet' in capsys.readouterr().err
    assert quickly('fleet', sources, out) == 0


def test_without_ray(quickly, sources, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, 'set_up_ray', cluster_arguments.set_up_ray)
    monkeypatch.setattr(cluster_arguments, 'find_spec', lambda name: None)
    assert quickly('fleet', sources, tmp_path / 'out') == 1
    assert 'needs Ray: pip install ray' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_ctrl_c(quickly, sources, tmp_path, capsys, monkeypatch):
    def stop(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Worker, 'run', stop)
        assert quickly('fleet', sources, tmp_path / 'out') == 130
    assert 'the same command goes on' in capsys.readouterr().err
    assert quickly('fleet', sources, tmp_path / 'out') == 0
