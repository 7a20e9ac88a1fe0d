# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What lies in the folder of a recording is read, or named."""

import numpy as np
import pytest
from bags import START_NS, image_message, texts, write, write_mcap

from clip_dinoiser_ros.bag.recording import Recording


def read(path):
    with Recording(path) as recording:
        times = [message.time_ns - START_NS for message in recording.messages()]
        return times, recording.damage, recording.notes


@pytest.mark.parametrize('metadata', [True, False])
@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('old.bag', b''),
        ('rec_1.mcap.gz', b''),
        ('rec_1.db3.lz4', b''),
        ('rec_1.mcap.tmp', b''),
        ('rec_0.bag.active', b''),
        ('other.db3-wal', b'a'),
        ('lost', b'\x89MCAP0\r\n'),
        ('lost.dat', b'SQLite format 3\0'),
        ('lost.zst', b'\x28\xb5\x2f\xfd'),
        ('sub/rec_0.mcap', b''),
    ],
)
def test_unread_files_in_a_bag_folder_are_named(tmp_path, metadata, name, content):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    if not metadata:
        (folder / 'metadata.yaml').unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    times, damage, notes = read(folder)
    assert (times, notes) == ([0, 1, 2], [])
    assert damage == [f'{name.split("/")[0]} in {folder} is not read']


def test_files_that_metadata_does_not_list_are_named(tmp_path):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    write_mcap(folder / 'rec_1.mcap', texts(5, size=100))
    times, damage, _ = read(folder)
    assert times == [0, 1, 2]
    assert damage == [f'rec_1.mcap in {folder} is not read']


def test_files_that_are_not_recordings_are_noted(tmp_path):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    for name in ('notes.txt', 'camera.yaml', '.DS_Store'):
        (folder / name).write_text('hello')
    (folder / 'pictures').mkdir()
    times, damage, notes = read(folder)
    assert (times, damage) == ([0, 1, 2], [])
    assert [note.split(' ')[0] for note in notes] == ['camera.yaml', 'notes.txt', 'pictures']


@pytest.mark.parametrize('content', ['', 'rosbag2_bagfile_information:\n  vers', '\0\0\0', '- a'])
def test_metadata_that_was_never_finished(tmp_path, content):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    (folder / 'metadata.yaml').write_text(content)
    times, damage, _ = read(folder)
    assert times == [0, 1, 2]
    assert len(damage) == 1
    assert 'metadata.yaml cannot be read, so it is ignored' in damage[0]


@pytest.mark.parametrize('prefix', ['rec/', '/home/robot/bags/rec/', 'rec\\', 'C:\\bags\\rec\\'])
def test_metadata_with_folders_before_the_names(tmp_path, prefix):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    metadata = folder / 'metadata.yaml'
    text = metadata.read_text()
    assert text.count('- rec.mcap') == 1
    metadata.write_text(text.replace('- rec.mcap', f"- '{prefix}rec.mcap'"))
    assert read(folder) == ([0, 1, 2], [], [])


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('storage_identifier: mcap', "storage_identifier: ''"),  # as reindex leaves it
        ('\n', '\r\n'),
        ('rosbag2_bagfile_information', '\ufeffrosbag2_bagfile_information'),
    ],
)
def test_metadata_as_other_programs_write_it(tmp_path, before, after):
    folder = write(tmp_path / 'rec', texts(3, size=100))
    metadata = folder / 'metadata.yaml'
    text = metadata.read_text()
    assert before in text
    metadata.write_bytes(text.replace(before, after).encode())
    assert read(folder) == ([0, 1, 2], [], [])


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / 'rec_2026'
    folder.mkdir()
    for part in range(12):
        write_mcap(folder / f'rec_2026.01_{part}.mcap', texts(12, size=100)[part : part + 1])
    with Recording(folder) as recording:
        names = [file.shown.name for file in recording._files]
        assert names == [f'rec_2026.01_{part}.mcap' for part in range(12)]
        assert [m.time_ns - START_NS for m in recording.messages()] == [*range(12)]


@pytest.mark.parametrize('verb', ['bag', 'play'])
def test_the_commands_name_it_and_end_with_3(tmp_path, run_quickly, capsys, verb):
    if verb == 'play':
        pytest.importorskip('rclpy', reason='no ROS here: nothing can be played')
    image = image_message(np.zeros((32, 48, 3), np.uint8), START_NS)
    folder = write(tmp_path / 'rec', [('/camera/image_raw', START_NS, image)])
    (folder / 'rec_1.mcap.gz').write_bytes(b'')
    if verb == 'bag':
        code = run_quickly('bag', folder, tmp_path / 'out')
    else:
        from clip_dinoiser_ros import cli

        code = cli.main(['play', str(folder), '--wait', '0'])
    assert code == 3
    assert f'rec_1.mcap.gz in {folder} is not read' in capsys.readouterr().err
