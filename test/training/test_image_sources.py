# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images from a folder and from a recording; what is refused, and by which name."""

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.training.bag_images import BagImages, evenly
from clip_dinoiser_ros.training.image_sources import FolderImages, SourceError

STORE = typestore()
IMAGE = STORE.types['sensor_msgs/msg/Image']
COMPRESSED = STORE.types['sensor_msgs/msg/CompressedImage']
HEADER = STORE.types['std_msgs/msg/Header']
VOCABULARY = STORE.types['clip_dinoiser_ros/msg/Vocabulary']
TIME = STORE.types['builtin_interfaces/msg/Time']
FRAMES = 12


def frame(index, height=24, width=32):
    """An image unlike its mirror image and unlike the others."""
    ramp = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3)
    return ((ramp * 7 + index * 31) % 251).astype(np.uint8)


def png(image):
    return cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]


def png_of(grey):
    return cv2.imencode('.png', grey)[1]


def header(stamp):
    return HEADER(stamp=TIME(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id='camera')


def raw_message(image, stamp, encoding='rgb8'):
    data = np.ascontiguousarray(image).view(np.uint8).reshape(-1)
    height, width = image.shape[:2]
    return IMAGE(header(stamp), height, width, encoding, 0, data.size // height, data)


def write_bag(path, topics, plugin=StoragePlugin.MCAP):
    """Write {topic: [(stamp, message), ...]}."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for topic, messages in topics.items():
            kind = messages[0][1].__msgtype__ if messages else IMAGE.__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for stamp, message in messages:
                writer.write(connection, stamp, STORE.serialize_cdr(message, kind))
    return path


def raw_topic(count=FRAMES, start=0, step=10**8):
    stamps = [10**9 + step * i for i in range(count)]
    return [(s, raw_message(frame(start + i), s)) for i, s in enumerate(stamps)]


def compressed_topic(count=FRAMES, start=0):
    stamps = [10**9 + 10**8 * i for i in range(count)]
    return [
        (s, COMPRESSED(header(s), 'rgb8; png compressed bgr8', png(frame(start + i))))
        for i, s in enumerate(stamps)
    ]


def sorted_images(images):
    return sorted(images.read(i).image.tobytes() for i in range(len(images.names)))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'images'
    for index in range(FRAMES):
        path = root / f'day{index % 2}' / f'frame_{index}.{("png", "PNG")[index % 2]}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(frame(index)).tobytes())
    (root / 'notes.txt').write_text('no image')
    return root


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('topic', [raw_topic, compressed_topic])
def test_a_folder_and_a_bag_give_the_same_frames(folder, tmp_path, plugin, topic):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': topic()}, plugin)
    from_bag, from_folder = BagImages(bag), FolderImages(folder)
    assert sorted_images(from_bag) == sorted_images(from_folder)
    assert sorted_images(from_bag) == sorted(frame(i).tobytes() for i in range(FRAMES))
    assert from_bag.about['topics'] == ['/camera/image_raw']
    assert from_bag.about['used'] == from_folder.about['used'] == FRAMES


def test_one_file_of_a_bag_is_enough(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': raw_topic()})
    file = next(bag.glob('*.mcap'))
    assert BagImages(file).names == BagImages(bag).names


def test_a_folder_is_drawn_by_the_seed(folder):
    first, again = FolderImages(folder, 5, seed=1), FolderImages(folder, 5, seed=1)
    assert first.names == again.names
    assert len(set(first.names)) == 5
    assert first.names != FolderImages(folder, 5, seed=2).names
    image = first.read(3).image
    number = int(first.names[3].split('_')[1].split('.')[0])
    np.testing.assert_array_equal(image, frame(number))


def test_undecodable_files_are_left_out_and_listed(folder):
    (folder / 'cut.jpg').write_bytes(b'\xff\xd8\xff\xe0cut')
    (folder / 'empty.png').write_bytes(b'')
    images = FolderImages(folder)
    assert len(images.names) == FRAMES
    assert sorted(images.about['unreadable']) == ['cut.jpg', 'empty.png']
    # others are drawn in their place
    assert all(len(FolderImages(folder, 11, seed).names) == 11 for seed in range(5))


def test_a_image_that_vanished_names_itself(folder):
    images = FolderImages(folder)
    (folder / images.names[0]).unlink()
    with pytest.raises(SourceError, match=images.names[0]):
        images.read(0)


def test_unusable_folders_are_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere' does not exist"):
        FolderImages(tmp_path / 'nowhere')
    (tmp_path / 'file').write_text('')
    with pytest.raises(SourceError, match=r"file' is not a folder"):
        FolderImages(tmp_path / 'file')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SourceError, match=r"empty' and its subfolders contain no \.jpg"):
        FolderImages(tmp_path / 'empty')
    (tmp_path / 'empty' / 'bad.png').write_bytes(b'bad')
    with pytest.raises(SourceError, match=r"none of the 1 images in .*empty.*'bad.png'"):
        FolderImages(tmp_path / 'empty')


def test_frames_are_drawn_evenly_over_time(tmp_path):
    # 100 frames in the first second, then one per second: time counts, not frames
    stamps = np.array([10**7 * i for i in range(100)] + [10**9 * i for i in range(1, 11)])
    chosen = evenly(stamps, 5)
    assert chosen[1:].tolist() == [3 * 10**9, 5 * 10**9, 7 * 10**9, 9 * 10**9]
    assert evenly(stamps, 1000).tolist() == stamps.tolist()
    regular = np.arange(0, 1000)
    np.testing.assert_array_equal(np.diff(evenly(regular, 10)), 100)
    topic = [(int(s) + 10**9, raw_message(frame(i), int(s))) for i, s in enumerate(stamps)]
    images = BagImages(write_bag(tmp_path / 'bag', {'/a': topic}), count=5)
    assert images.names == [f'/a@{s + 10**9}' for s in chosen]
    index = stamps.tolist().index(5 * 10**9)
    np.testing.assert_array_equal(images.read(2).image, frame(index))


def test_a_clock_that_was_set_takes_no_frames_away():
    for early in (0, 20 * 10**9):
        stamps = np.append(early, 1_700_000_000 * 10**9 + np.arange(100) * 10**8)
        assert len(evenly(stamps, 50)) == 50


def test_the_nearest_frame_is_drawn():
    assert evenly(np.array([0, 40, 100]), 1).tolist() == [40]
    assert evenly(np.array([0, 60, 100]), 1).tolist() == [60]
    stamps = np.unique(np.random.default_rng(0).integers(0, 10**6, 300))
    moments = stamps[0] + (np.arange(20) + 0.5) * ((stamps[-1] - stamps[0]) / 20)
    nearest = {int(stamps[np.abs(stamps - moment).argmin()]) for moment in moments}
    assert evenly(stamps, 20).tolist() == sorted(nearest)


def test_a_bayer_mosaic_in_a_png_is_interpolated(tmp_path):
    mosaic = np.zeros((24, 32), np.uint8)
    mosaic[::2, ::2] = 200  # the red pixels of rggb
    topics = {
        '/camera/image_raw/compressed': [
            (10**9, COMPRESSED(header(10**9), 'bayer_rggb8; png compressed ', png_of(mosaic)))
        ],
        '/grey/image_raw/compressed': [
            (10**9, COMPRESSED(header(10**9), 'yuv422_yuy2; jpeg compressed mono8', png_of(mosaic)))
        ],
    }
    images = BagImages(write_bag(tmp_path / 'bag', topics))
    assert images.about['topics'] == ['/camera/image_raw/compressed']
    assert images.read(0).image[4:-4, 4:-4].reshape(-1, 3).tolist() == [[200, 0, 0]] * 16 * 24


def test_topics_share_the_frames(tmp_path):
    topics = {'/front': raw_topic(40), '/rear': compressed_topic(4, 50), '/left': raw_topic(40, 90)}
    bag = write_bag(tmp_path / 'bag', topics)
    drawn = [name.split('@')[0] for name in BagImages(bag, count=20).names]
    assert {topic: drawn.count(topic) for topic in topics} == {'/front': 8, '/rear': 4, '/left': 8}
    assert set(BagImages(bag, ['rear']).about['topics']) == {'/rear'}


def test_depth_and_labels_are_no_images_unless_named(tmp_path):
    depth = np.ones((24, 32), np.uint16)
    topics = {
        '/camera/image_raw': raw_topic(3),
        '/camera/depth': [(10**9, raw_message(depth, 10**9, '16UC1'))],
        '/camera/labels': [(10**9, raw_message(frame(0)[..., 0], 10**9, 'mono8'))],
        '/camera/depth/compressedDepth': [
            (10**9, COMPRESSED(header(10**9), '16UC1; compressedDepth png', np.zeros(40, np.uint8)))
        ],
    }
    bag = write_bag(tmp_path / 'bag', topics)
    about = BagImages(bag).about
    assert about['topics'] == ['/camera/image_raw']
    assert sorted(line.split(' is left out: ')[0] for line in about['left_out']) == sorted(
        topics.keys() - {'/camera/image_raw'}
    )
    assert len(BagImages(bag, ['/camera/labels']).names) == 1


def test_the_outputs_of_the_node_are_no_images(tmp_path):
    words = VOCABULARY(header(0), 1, [], np.zeros(0, np.uint16), [], '', 'none', 255, '')
    topics = {
        '/camera/image_raw': raw_topic(3),
        '/clip_dinoiser/camera/overlay': raw_topic(3, 50),
        '/clip_dinoiser/camera/vocabulary': [(10**9, words)],
    }
    about = BagImages(write_bag(tmp_path / 'bag', topics)).about
    assert about['topics'] == ['/camera/image_raw']
    assert about['left_out'] == [
        '/clip_dinoiser/camera/overlay is left out: it was made by this program'
    ]


def test_an_image_that_was_also_recorded_compressed_is_drawn_once(tmp_path):
    topics = {'/camera/image_raw': raw_topic(), '/camera/image_raw/compressed': compressed_topic()}
    bag = write_bag(tmp_path / 'bag', topics)
    assert BagImages(bag).about['topics'] == ['/camera/image_raw']
    both = list(topics)
    assert BagImages(bag, both).about['topics'] == both


def test_frames_of_one_time_are_all_drawn(tmp_path):
    topic = [(10**9 * (1 + i // 2), raw_message(frame(i), 10**9)) for i in range(8)]
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': topic})
    images = BagImages(bag)
    assert sorted_images(images) == sorted(frame(i).tobytes() for i in range(8))
    assert images.about['found'] == images.about['used'] == 8
    few = BagImages(bag, count=3)
    assert len(few.names) == few.about['used'] == 3


def test_damaged_frames_are_left_out_and_listed(tmp_path):
    topic = raw_topic()
    topic[4][1].step = 5  # shorter than a row
    images = BagImages(write_bag(tmp_path / 'bag', {'/camera/image_raw': topic}))
    assert len(images.names) == FRAMES - 1
    assert images.about['unreadable'][0].startswith('/camera/image_raw@1400000000: ')


def large_topic(count=8):
    """Frames so large that each chunk of an mcap holds one or two."""
    return [
        (10**9 * (i + 1), raw_message(frame(i, 480, 640), 10**9 * (i + 1))) for i in range(count)
    ]


def test_a_cut_bag_is_read_up_to_the_cut(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': large_topic()})
    file = next(bag.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[: 5 * 480 * 640 * 3])
    images = BagImages(bag)
    assert 2 <= len(images.names) < 6
    for index in range(len(images.names)):
        np.testing.assert_array_equal(images.read(index).image, frame(index, 480, 640))
    damage = ' '.join(images.about['damage'])
    assert 'bag.mcap is cut off: nothing readable after byte' in damage


def test_unread_files_in_a_bag_folder_are_damage(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': raw_topic()})
    (bag / 'bag_1.mcap.gz').write_bytes(b'')
    (bag / 'notes.txt').write_text('')
    about = BagImages(bag).about
    assert about['damage'] == [f'bag_1.mcap.gz in {bag} is not read']
    assert about['left_out'] == [f'notes.txt in {bag} is not a recording']


def test_a_whole_bag_has_no_damage(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': raw_topic()})
    assert BagImages(bag).about['damage'] == []


def test_unusable_bags_are_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere' does not exist"):
        BagImages(tmp_path / 'nowhere')
    (tmp_path / 'no_bag').mkdir()
    with pytest.raises(SourceError, match=r'no_bag is not a bag'):
        BagImages(tmp_path / 'no_bag')
    (tmp_path / 'cut.mcap').write_bytes(b'\x89MCAP0\r\n cut')
    with pytest.raises(SourceError, match=r'cut\.mcap cannot be read'):
        BagImages(tmp_path / 'cut.mcap')
    (tmp_path / 'other.mcap').write_bytes(b'not even the beginning')
    with pytest.raises(SourceError, match=r'other\.mcap cannot be read'):
        BagImages(tmp_path / 'other.mcap')
    silent = write_bag(tmp_path / 'silent', {'/camera/image_raw': []})
    with pytest.raises(SourceError, match=r'silent: /camera/image_raw\n.*it has no messages'):
        BagImages(silent)
    broken = raw_topic(2)
    for _, message in broken:
        message.step = 5
    with pytest.raises(SourceError, match=r'none of the 2 frames .*broken'):
        BagImages(write_bag(tmp_path / 'broken', {'/camera/image_raw': broken}))
    bag = write_bag(tmp_path / 'bag', {'/front': raw_topic(2)})
    with pytest.raises(SourceError, match=r'/rear is not an image topic of the bag; .*: /front'):
        BagImages(bag, ['/rear'])
