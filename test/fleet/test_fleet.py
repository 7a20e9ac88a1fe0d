# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A fleet on Ray: several nodes on one machine, and what happens to them in a night."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_nodes import NODE, actors_of, children, name_of  # before Ray

pytest.importorskip('ray', reason='Ray is an extra: make test-fleet')

from bags import write, write_mcap
from drives import comparable, frames

from clip_dinoiser_ros import Segmenter, arguments, cli
from clip_dinoiser_ros.fleet import cluster as clusters
from clip_dinoiser_ros.fleet import command

PROMPTS = ['--model', 'demo', '--short-side', '0', '--prompts', 'background', 'person', 'forklift']
WORDS = [*PROMPTS, '--cpus', '1']
PATIENCE_S = 500


@pytest.fixture
def expected(tmp_path, monkeypatch):
    """Return what `clip-dinoiser bag` makes of a recording."""
    segmenter = Segmenter.load('demo', short_side=None)  # as PROMPTS say
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: segmenter)

    def expected(source):
        out = tmp_path / 'bag' / f'{source.stem}.mcap'
        assert cli.main(['bag', str(source), str(out), *PROMPTS]) in (0, 3)
        return comparable(out)

    return expected


def start(*words):
    """Start a driver."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith('RAY_ENABLE')}
    if '--address' in words:  # which is on loopback here, as no real cluster is
        environment['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'
    program = [sys.executable, '-m', 'clip_dinoiser_ros.cli', 'fleet', *map(str, words), *WORDS]
    return subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)


def end(driver):
    """Wait for a driver; return its exit code and what it said."""
    _, said = driver.communicate(timeout=PATIENCE_S)
    return driver.returncode, said


def wait_for(condition, driver):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def fleet(tmp_path, picture):
    """Sixty recordings; one is so long that it is sliced, one damaged."""
    folder = tmp_path / 'in'
    folder.mkdir()
    for number in range(58):
        write(folder / f'{number:02}', frames(picture, 2 + number % 3, number))
    write(folder / 'long', frames(picture, 40, 58))
    damaged = write_mcap(folder / 'damaged.mcap', frames(picture, 6, 59), chunk_size=200_000)
    os.truncate(damaged, damaged.stat().st_size * 2 // 3)
    return folder


@pytest.mark.timeout(1200)
def test_a_night(three_nodes, fleet, tmp_path, expected):
    """An actor dies, a node dies, the driver dies; the next driver does the rest."""
    out = tmp_path / 'out'
    words = (fleet, out, '--address', three_nodes.address, '--slice-gb', 0.001)

    def outputs():
        return {path: path.stat().st_mtime_ns for path in out.glob('*.mcap')}

    driver = start(*words)
    wait_for(lambda: len(outputs()) >= 5, driver)
    victims = actors_of(three_nodes.others[0])
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(outputs()) >= 15, driver)
    three_nodes.remove_node(three_nodes.others[1], allow_graceful=False)
    wait_for(lambda: len(outputs()) >= 25, driver)
    done = outputs()
    driver.kill()
    assert end(driver)[0] == -signal.SIGKILL
    code, said = end(start(*words))
    assert code == 3, said  # one is damaged
    assert len(outputs()) == 60
    assert done.items() <= outputs().items()  # none was made again
    for path in sorted(fleet.iterdir()):
        assert comparable(out / f'{path.stem}.mcap') == expected(path), path
    report = json.loads((out / 'fleet_report.json').read_text())
    assert len(report['recordings']) == 60
    assert [name for name, one in report['recordings'].items() if one['damage']] == ['damaged']
    assert not list(out.glob('*.partial'))


def test_a_unit_that_fails_is_tried_on_three_actors(three_nodes, tmp_path, picture):
    source = tmp_path / 'in'
    source.mkdir()
    write(source / 'good', frames(picture, 2))
    write(source / 'dark', frames(picture, 3, damaged=range(3)))
    code, said = end(start(source, tmp_path / 'out', '--address', three_nodes.address))
    assert code == command.FAILED
    assert said.count('dark is tried again: no frame could be segmented') == 2
    assert said.count('failed: dark: no frame could be segmented') == 1
    assert (tmp_path / 'out/good.mcap').is_file()


def test_a_full_disk(three_nodes, small_disk, tmp_path, picture, expected):
    """What never fits takes the room of nothing else; with room, the same command does it."""
    source, out = tmp_path / 'in', small_disk / 'out'
    source.mkdir()
    write(source / 'long', frames(picture, 40))  # the output has 2.7 MB, the disk 2 MB
    for seed in range(1, 4):
        write(source / f'short_{seed}', frames(picture, 2 + seed, seed))
    words = (source, out, '--address', three_nodes.address)
    code, said = end(start(*words))
    assert code == command.FAILED, said
    assert 'failed: long: [Errno 28] No space left on device' in said
    report = json.loads((out / 'fleet_report.json').read_text())
    assert list(report['recordings']) == ['short_1', 'short_2', 'short_3']
    assert list(report['failures']) == ['long']
    subprocess.run(['mount', '-o', 'remount,size=16m', small_disk], check=True)
    code, said = end(start(*words))
    assert code == 0, said
    for path in sorted(source.iterdir()):
        assert comparable(out / f'{path.name}.mcap') == expected(path), path


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--cpus', '64'), 'an actor needs 64 CPUs and 0 GPUs, the nodes have 1 and 0'),
        (('--gpus', '1'), 'an actor needs 1 CPUs and 1 GPUs'),
        (('--model', 'nothing-of-the-kind.json'), 'no actor can start: '),
    ],
    ids=str,
)
def test_resources_that_the_cluster_lacks(one_node, drive, capsys, words, said):
    assert cli.main(['fleet', *drive, *WORDS, '--address', one_node, *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert lines[-1].startswith('clip-dinoiser fleet: ')


@pytest.fixture(scope='module')
def one_node():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=dict(NODE))
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def drive(tmp_path, picture):
    return str(write(tmp_path / 'drive', frames(picture, 2))), str(tmp_path / 'out')


def test_a_node_with_other_software(one_node, drive, capsys, monkeypatch):
    ours = {**clusters.software(), 'clip_dinoiser_ros': '9.9'}
    monkeypatch.setattr(clusters, 'software', lambda: ours)
    assert cli.main(['fleet', *drive, *WORDS, '--address', one_node]) == 1
    assert 'node 127.0.0.1 has clip_dinoiser_ros 0.1.0, this machine has 9.9' in (
        capsys.readouterr().err
    )


def test_a_node_that_does_not_see_the_outputs(one_node, tmp_path):
    with clusters.cluster(one_node, False), pytest.raises(ValueError, match='all nodes share'):
        clusters.check_nodes(tmp_path, 'missing')


@pytest.mark.parametrize('address', ['127.0.0.1:1', 'nowhere', 'auto'])
def test_an_address_without_a_cluster(drive, capsys, address):
    assert cli.main(['fleet', *drive, *WORDS, '--address', address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f'the Ray cluster at {address} cannot be joined' in line


def listening(pids):
    """The local addresses, in hexadecimal, on which processes listen."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f'/proc/{pid}/fd').iterdir():
                with contextlib.suppress(OSError):
                    target = link.readlink().name
                    inodes.add(target.removeprefix('socket:[').removesuffix(']'))
    rows = [
        line.split()
        for table in ('tcp', 'tcp6')
        for line in Path(f'/proc/net/{table}').read_text().splitlines()[1:]
    ]
    return {row[1].split(':')[0] for row in rows if row[3] == '0A' and row[9] in inodes}


def test_a_cluster_of_its_own_is_reached_by_this_machine_only(tmp_path, picture, expected):
    """All that the driver starts, while it works."""
    source = write(tmp_path / 'drive', frames(picture, 60))
    driver = start(source, tmp_path / 'out')
    wait_for(lambda: list(tmp_path.glob('out/drive.mcap.partial/*')), driver)
    processes = children(driver.pid)
    found = listening([driver.pid, *processes])
    gcs = [pid for pid in processes if 'gcs_server' in name_of(pid)]
    environments = [Path(f'/proc/{pid}/environ').read_bytes() for pid in gcs]
    code, said = end(driver)
    assert code == 0, said
    assert found
    assert found <= {'0100007F', '0000000000000000FFFF00000100007F'}
    assert environments
    assert all(b'RAY_USAGE_STATS_ENABLED=0' in environment for environment in environments)
    assert comparable(tmp_path / 'out/drive.mcap') == expected(source)


@contextlib.contextmanager
def s3(monkeypatch):
    """Files of a server that speaks the protocol of S3, on this machine."""
    s3fs = pytest.importorskip('s3fs', reason='needs s3fs and moto[server]')
    server = pytest.importorskip('moto.server', reason='needs s3fs and moto[server]')
    running = server.ThreadedMotoServer('127.0.0.1', 0)
    running.start()
    host, port = running.get_host_and_port()
    settings = {
        'AWS_ENDPOINT_URL': f'http://{host}:{port}',
        'AWS_ACCESS_KEY_ID': 'anyone',
        'AWS_SECRET_ACCESS_KEY': 'anything',
        'AWS_DEFAULT_REGION': 'us-east-1',
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield s3fs.S3FileSystem(skip_instance_cache=True)
    running.stop()


@contextlib.contextmanager
def gs(monkeypatch):
    """Files of a server that speaks the protocol of Google Cloud Storage, on this machine."""
    # what it asks Google over gRPC, the server does not know
    monkeypatch.setenv('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
    gcsfs = pytest.importorskip('gcsfs', reason='needs gcsfs and gcp-storage-emulator')
    server = pytest.importorskip(
        'gcp_storage_emulator.server', reason='needs gcsfs and gcp-storage-emulator'
    )
    running = server.create_server('127.0.0.1', 0, in_memory=True)
    running.start()
    host, port = running._api._httpd.socket.getsockname()
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', f'http://{host}:{port}')
    yield gcsfs.GCSFileSystem(project='demo', token='anon', skip_instance_cache=True)
    running.stop()


@pytest.fixture(params=[s3, gs])
def bucket(request, monkeypatch):
    """The file system and the URL of a bucket."""
    with request.param(monkeypatch) as files:
        files.mkdir('drives')
        yield files, f'{request.param.__name__}://drives'


def test_recordings_in_a_bucket(bucket, tmp_path, picture, expected):
    files, url = bucket
    folder, scratch = tmp_path / 'in', tmp_path / 'scratch'
    scratch.mkdir()
    local = {
        'monday/one': write(folder / 'one', frames(picture, 3)),
        'monday/two': write(folder / 'two', frames(picture, 4, 1), storage='sqlite3'),
        'three': write_mcap(folder / 'three.mcap', frames(picture, 5, 2)),
    }
    for name, path in local.items():
        files.put(str(path), f'drives/{name}{path.suffix}', recursive=path.is_dir())
    files.pipe('drives/monday/', b'')  # as the web page of S3 marks a folder
    words = (url, tmp_path / 'out', '--scratch', scratch)
    code, said = end(start(*words))
    assert code == 0, said
    for name, path in local.items():
        assert comparable(tmp_path / f'out/{name}.mcap') == expected(path), name
    assert not list(scratch.iterdir())
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob('out/**/*.mcap')}
    files.put(str(local['three']), 'drives/four.mcap')
    files.pipe('drives/bad.mcap', bytes(1000))
    code, said = end(start(*words))
    assert code == command.FAILED
    assert 'failed: bad: ' in said
    assert len([*tmp_path.glob('out/**/*.mcap')]) == 4
    assert made.items() <= {p: p.stat().st_mtime_ns for p in made}.items()


def held(pid):
    """Memory of a process in kB: its own, and what it shares, as a raylet does its object store."""
    rows = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    return [int(rows[name].split()[0]) for name in ('RssAnon', 'RssShmem')]


@pytest.mark.long
def test_memory_does_not_grow_with_the_recordings(tmp_path, picture):
    """The images of one have 300 kB."""
    source = tmp_path / 'in'
    source.mkdir()
    first = write_mcap(source / '00.mcap', frames(picture, 3))
    for number in range(1, 90):
        os.link(first, source / f'{number:02}.mcap')
    driver = start(source, tmp_path / 'out', '--actors', 1)
    samples = []
    for count in (25, 85):
        wait_for(lambda count=count: len([*tmp_path.glob('out/*.mcap')]) >= count, driver)
        names = {pid: name_of(pid) for pid in children(driver.pid)}
        (raylet,) = [pid for pid, name in names.items() if '/raylet/raylet ' in name]
        (actor,) = [pid for pid, name in names.items() if re.match('ray::(?!IDLE|.*Agent)', name)]
        samples.append({pid: held(pid) for pid in (driver.pid, actor, raylet)})
    code, said = end(driver)
    assert code == 0, said
    before, after = samples
    assert before.keys() == after.keys()
    for pid, (own, _) in after.items():
        assert own - before[pid][0] < 3000, (names.get(pid, 'driver'), before, after)
    assert after[raylet][1] < 1000  # the object store: no frame goes through it
