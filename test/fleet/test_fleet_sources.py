# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which recordings a source means, and what their outputs are called."""

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from clip_dinoiser_ros.bag.files import BagError
from clip_dinoiser_ros.fleet.sources import Found, find_recordings, listed, local_copy


def touch(path, size=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


@pytest.fixture
def robots(tmp_path):
    """Two robots; the recordings of one are folders, those of the other files."""
    data = tmp_path / 'data'
    for number in range(2):
        touch(data / f'one/monday/monday_{number}.mcap', 10)  # its recorder was killed
    touch(data / 'one/tuesday/a.db3', 30)
    touch(data / 'one/tuesday/metadata.yaml')
    touch(data / 'two/monday.mcap.zstd', 5)
    touch(data / 'two/tuesday.db3', 7)
    touch(data / 'two/tuesday.db3.zstd', 3)  # its compressed twin
    touch(data / 'two/notes.md')
    touch(data / 'two/friday.mcap.partial/friday/friday.mcap')
    touch(data / '.fleet/slices/x.mcap')
    return data


NAMES = ['one/tuesday', 'one/monday', 'two/tuesday', 'two/monday']


def names(*sources):
    return [found.name for found in find_recordings([str(source) for source in sources])]


def test_a_folder(robots):
    found = find_recordings([str(robots)])
    assert [one.name for one in found] == NAMES
    assert [one.size for one in found] == [30, 20, 7, 5]
    assert found[0].source == str(robots / 'one/tuesday')
    assert found[3].source == str(robots / 'two/monday.mcap.zstd')


def test_a_name_does_not_depend_on_the_other_sources(robots):
    assert names(robots / '*') == NAMES
    assert names(robots / '*' / 'monday*') == ['one/monday', 'two/monday']
    assert names(robots / '**' / '*.db3') == ['one/tuesday/a', 'two/tuesday']
    assert names(robots / 'one') == ['tuesday', 'monday']
    assert names(robots / 'one/monday', robots / 'two/tuesday.db3') == ['monday', 'tuesday']


def test_a_source_given_twice_is_one(robots):
    assert names(robots, robots) == NAMES


def test_two_outputs_of_one_name(robots):
    with pytest.raises(BagError, match=r'would both be written to monday\.mcap'):
        names(robots / 'one/monday', robots / 'two/monday.mcap.zstd')


def test_a_list(robots, tmp_path):
    path = tmp_path / 'these.txt'
    path.write_text(f'# of Monday\n{robots / "one"}\n\n  {robots / "two/monday.mcap.zstd"}  \n')
    assert listed([str(path)]) == [str(robots / 'one'), str(robots / 'two/monday.mcap.zstd')]
    path.write_text('# none\n')
    with pytest.raises(BagError, match='lists no recording'):
        listed([str(path)])


def test_a_name_with_the_signs_of_a_pattern(tmp_path):
    touch(tmp_path / 'run[1]/drive.mcap')
    assert names(tmp_path / 'run[1]') == ['drive']


@pytest.mark.parametrize(
    ('source', 'error', 'said'),
    [
        ('nowhere', FileNotFoundError, 'nowhere does not exist'),
        ('empty', BagError, r'empty has no recording: no \.mcap or \.db3 file'),
        ('*.mcap', BagError, r'\*\.mcap matches nothing'),
        ('nothing://x/y', BagError, 'nothing://x/y cannot be opened: '),
    ],
)
def test_sources_that_cannot_be_used(tmp_path, source, error, said):
    (tmp_path / 'empty').mkdir()
    given = source if '://' in source else str(tmp_path / source)
    with pytest.raises(error, match=said):
        find_recordings([given])


def test_behind_a_url(tmp_path):
    files = fsspec.filesystem('memory')
    files.pipe('/fleet/one/drive/drive_0.mcap', b'abc')
    files.pipe('/fleet/two.mcap', b'defgh')
    found = find_recordings(['memory://fleet'])
    assert [(one.name, one.size, one.is_local) for one in found] == [
        ('two', 5, False),
        ('one/drive', 3, False),
    ]
    for one, inside, content in ((found[0], '.', b'defgh'), (found[1], 'drive_0.mcap', b'abc')):
        with local_copy(one, tmp_path) as copy:
            assert tmp_path in copy.parents
            assert (copy / inside).read_bytes() == content
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('source', ['memory://fleet', 'memory://fleet/*'])
def test_a_server_that_does_not_answer(monkeypatch, source):
    """It does not mean that nothing is there."""

    def info(self, path):
        raise RuntimeError('no route to\nthe server')

    monkeypatch.setattr(type(fsspec.filesystem('memory')), 'info', info)
    with pytest.raises(BagError, match=r'/fleet.* cannot be read: no route to the server'):
        find_recordings([source])


@pytest.mark.parametrize('source', ['fleet', 'fleet/monday', 'fleet/mon*'])
def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(monkeypatch, tmp_path, source):
    folder = tmp_path / 'fleet/monday/locked'
    folder.mkdir(parents=True)
    (folder.parent / 'open.mcap').write_bytes(b'abc')
    listed = LocalFileSystem.ls

    def ls(self, path, **options):  # root can read everything
        if path == str(folder):
            raise PermissionError(13, 'Permission denied', path)
        return listed(self, path, **options)

    monkeypatch.setattr(LocalFileSystem, 'ls', ls)
    with pytest.raises(BagError, match=r'monday/locked cannot be read: .*Permission denied'):
        find_recordings([str(tmp_path / source)])
    folder.rmdir()
    for name in ('.hidden', 'lost+found'):  # not looked at
        folder = folder.with_name(name)
        folder.mkdir()
        (folder / 'recording.mcap').write_bytes(b'abcd')
        assert [one.size for one in find_recordings([str(tmp_path / source)])] == [3]


def test_a_server_that_does_not_answer_any_more(monkeypatch, tmp_path):
    def get(self, *args, **options):
        raise RuntimeError('reset')

    monkeypatch.setattr(type(fsspec.filesystem('memory')), 'get', get)
    with (
        pytest.raises(BagError, match=r'memory://a\.mcap cannot be copied: reset'),
        local_copy(Found('a', 'memory://a.mcap', 1), tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_path_is_read_in_place(tmp_path):
    with local_copy(Found('a', str(tmp_path / 'a'), 1), None) as path:
        assert path == tmp_path / 'a'
