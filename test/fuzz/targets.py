# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What comes from outside and is taken apart here: bytes in, and the promise that has to hold.

A target takes any bytes. It returns when the promise holds and raises when it does not; the errors
that are the promised answer to damage stay inside. Hypothesis drives the targets in the tests and
Atheris in `make fuzz`, from the same `seeds`.
"""

from __future__ import annotations

import gzip
import io
import sqlite3
import struct
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import zstandard
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer

from clip_dinoiser_ros.bag.cameras import decode_message
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.types import COMPRESSED, IMAGE, typestore
from clip_dinoiser_ros.core.vocabulary import MAX_CLASSES, PromptError, parse_prompts
from clip_dinoiser_ros.frames import compressed, depth_images, image_files, images, rvl
from clip_dinoiser_ros.frames.intrinsics import CameraInfoError, matrices

MAX_PIXELS = 2**16  # small, so that a large picture does not cost the time of a thousand others
_FIELDS = struct.Struct('<IIIBB')  # height, width, step, byte order, encoding
_INFO = struct.Struct('<8I21d')  # height, width, binning, region of interest, k, p
_K = (500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0)
_P = (500.0, 0.0, 320.0, 0.0, 0.0, 500.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_ENCODINGS = (*images.SUPPORTED, '32FC1', '8UC2', 'sepia', '')
_RVL = bytes.fromhex('1323a123ce0e918a000033ef')  # of twelve pixels, see test_rvl.py
_START_NS = 1_700_000_000 * 10**9


def raw_image(content: bytes) -> None:
    """An image message of any fields is decoded to its size, or refused."""
    if len(content) < _FIELDS.size:
        return
    message = _image_message(content)
    with suppress(images.ImageError):
        _check_picture(images.to_rgb(message, MAX_PIXELS), (message.height, message.width))


def _image_message(content: bytes) -> SimpleNamespace:
    height, width, step, big, kind = _FIELDS.unpack_from(content)
    return SimpleNamespace(
        height=height,
        width=width,
        step=step,
        is_bigendian=big & 1,
        encoding=_ENCODINGS[kind % len(_ENCODINGS)],
        data=content[_FIELDS.size :],
    )


def depth_image(content: bytes) -> None:
    """A depth image becomes metres above 0 or NaN, or is refused."""
    if len(content) < _FIELDS.size:
        return
    message = _image_message(content)
    message.encoding = ('16UC1', '32FC1', 'mono16', 'rgb8')[len(message.encoding) % 4]
    message.width, message.height = message.width % 2**16, message.height % 2**16
    with suppress(images.ImageError):
        depth = depth_images.to_depth(message)
        assert depth.shape == (message.height, message.width)
        _check_depth(depth)


def compressed_depth(content: bytes) -> None:
    """Compressed depth of any format, the first line, becomes metres or NaN, or is refused."""
    form, _, data = content.partition(b'\n')
    message = SimpleNamespace(format=form.decode('utf-8', 'replace'), data=data)
    with suppress(images.ImageError):
        depth = depth_images.to_depth(message, MAX_PIXELS)
        assert depth.ndim == 2
        assert 0 < depth.size <= MAX_PIXELS
        _check_depth(depth)


def rvl_code(content: bytes) -> None:
    """Any bytes are pixels by RVL or are refused, with no pixels that were not coded."""
    if len(content) < 2:
        return
    pixels = 1 + int.from_bytes(content[:2], 'little')
    with suppress(images.ImageError):
        assert rvl.decode(content[2:], pixels).shape == (pixels,)


def _check_depth(depth: np.ndarray) -> None:
    assert depth.dtype == np.float32
    assert not (depth <= 0).any()
    assert not np.isinf(depth).any()


def camera_info(content: bytes) -> None:
    """A CameraInfo becomes finite matrices, or is refused."""
    if len(content) < _INFO.size:
        return
    height, width, binning_y, binning_x, *rest = _INFO.unpack_from(content)
    roi = SimpleNamespace(height=rest[0], width=rest[1], y_offset=rest[2], x_offset=rest[3])
    info = SimpleNamespace(
        height=height,
        width=width,
        binning_y=binning_y,
        binning_x=binning_x,
        roi=roi,
        k=rest[4:13],
        p=rest[13:25],
    )
    with suppress(CameraInfoError):
        found = matrices(info, (480, 640))
        assert found.k.shape == (3, 3)
        assert found.p.shape == (3, 4)


def compressed_image(content: bytes) -> None:
    """A JPEG or PNG is decoded to the size that its header says, or refused."""
    with suppress(images.ImageError):
        _check_picture(
            compressed.decode(content, max_pixels=MAX_PIXELS), compressed.dimensions(content)
        )


def image_file(content: bytes) -> None:
    """An image file of any kind is decoded or refused."""
    with suppress(images.ImageError):
        image = image_files.decode(content)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3


def zstd_image(content: bytes) -> None:
    """An image of the transport zstd is decoded to a size within the limit, or refused."""
    message = SimpleNamespace(format='zstd', data=content)
    with suppress(images.ImageError):
        _check_picture(picture := compressed.to_rgb(message, MAX_PIXELS), picture.shape[:2])


def _check_picture(picture: np.ndarray, size: tuple[int, int]) -> None:
    assert picture.dtype == np.uint8
    assert picture.shape == (*size, 3)
    assert picture.shape[0] * picture.shape[1] <= MAX_PIXELS


def recorded_image(content: bytes) -> None:
    """A serialized camera message is decoded or refused, whatever its type is said to be."""
    for type_name in (IMAGE, COMPRESSED):
        with suppress(images.ImageError):
            _, picture = decode_message(content, type_name)
            assert picture.dtype == np.uint8
            assert picture.ndim == 3


def prompts(content: bytes) -> None:
    """Prompts, one a line, become classes of different names that can be typed again, or not."""
    given = content.decode('utf-8', 'surrogateescape').split('\n')
    with suppress(PromptError):
        parsed = parse_prompts(given)
        names = [prompt.name for prompt in parsed]
        assert 0 < len(parsed) == len(given) <= MAX_CLASSES
        assert len(set(names)) == len(names)
        assert not any(unicodedata.category(c) in ('Cc', 'Cs') for name in names for c in name)
        assert parse_prompts([prompt.text for prompt in parsed]) == parsed


def mcap_file(content: bytes) -> None:
    """A file called .mcap is read as far as it is whole, or refused."""
    _read_file('bag.mcap', content)


def sqlite_file(content: bytes) -> None:
    """As that, for .db3."""
    _read_file('bag.db3', content)


def unchunked_file(content: bytes) -> None:
    """As `mcap_file`, with seeds whose messages stand outside of chunks."""
    _read_file('bag.mcap', content)


def packed_file(content: bytes) -> None:
    """As that, for .mcap.zstd."""
    _read_file('bag.mcap.zstd', content)


def sqlite_log(content: bytes) -> None:
    """Whatever stands in the write-ahead log of a .db3, that is read or the file alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'bag.db3')
        path.write_bytes(_log_content()[0])
        path.with_name('bag.db3-wal').write_bytes(content)
        _read(path)
        assert path.with_name('bag.db3-wal').read_bytes() == content


def metadata(content: bytes) -> None:
    """Whatever metadata.yaml says, a bag is read or refused, and no file outside of it."""
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder, 'bag')
        _write_bag(bag, StoragePlugin.MCAP)
        (bag / 'metadata.yaml').write_bytes(content)
        _read(bag)


def _read_file(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        _read(path)
        assert path.read_bytes() == content


def _read(path: Path) -> None:
    with suppress(BagError, FileNotFoundError), Recording(path) as recording:
        for message in recording.messages():
            assert message.topic.name in recording.topics
            assert 0 <= message.time_ns < 2**63
        assert all(isinstance(line, str) for line in recording.damage)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        raw_image,
        depth_image,
        compressed_depth,
        rvl_code,
        camera_info,
        compressed_image,
        image_file,
        zstd_image,
        recorded_image,
        prompts,
        mcap_file,
        unchunked_file,
        packed_file,
        sqlite_file,
        sqlite_log,
        metadata,
    )
}


def seeds(target: str) -> list[bytes]:
    """Return whole input of a target, to begin with."""
    return {
        'raw_image': _raw_images,
        'depth_image': _raw_images,
        'compressed_depth': _depths,
        'rvl_code': lambda: [(11).to_bytes(2, 'little') + _RVL],
        'camera_info': lambda: [_INFO.pack(480, 640, 0, 0, 0, 0, 0, 0, *_K, *_P)],
        'compressed_image': _pictures,
        'image_file': lambda: _pictures() + _other_files(),
        'zstd_image': _zstd_images,
        'recorded_image': _messages,
        'prompts': _prompts,
        'mcap_file': lambda: [_bag_content(StoragePlugin.MCAP, 'bag.mcap')],
        'sqlite_file': lambda: [_bag_content(StoragePlugin.SQLITE3, 'bag.db3')],
        'unchunked_file': lambda: [_unchunked_content()],
        'packed_file': lambda: [zstandard.compress(_bag_content(StoragePlugin.MCAP, 'bag.mcap'))],
        'sqlite_log': lambda: [_log_content()[1]],
        'metadata': lambda: [_bag_content(StoragePlugin.MCAP, 'metadata.yaml')],
    }[target]()


def _raw_images() -> list[bytes]:
    # 8 x 8 with room behind each row for any encoding
    data = bytes(range(256)) * 6
    return [_FIELDS.pack(8, 8, 64, 0, kind) + data for kind in range(len(_ENCODINGS))]


def _pictures() -> list[bytes]:
    picture = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    options = ('.jpg', ()), ('.jpg', (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), ('.png', ())
    encoded = [cv2.imencode(suffix, picture, option)[1].tobytes() for suffix, option in options]
    return [*encoded, cv2.imencode('.png', picture[..., 0].astype(np.uint16))[1].tobytes()]


def _other_files() -> list[bytes]:
    picture = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    return [cv2.imencode(suffix, picture)[1].tobytes() for suffix in ('.bmp', '.tiff', '.webp')]


def _depths() -> list[bytes]:
    png = cv2.imencode('.png', np.arange(12 * 16, dtype=np.uint16).reshape(12, 16))[1].tobytes()
    config = struct.pack('<iff', 0, 10100.0, -1009.0)
    images_by_codec = {b'png': png, b'rvl': struct.pack('<II', 4, 3) + _RVL}
    return [
        *(
            encoding + b'; compressedDepth ' + codec + b'\n' + config + image
            for encoding in (b'16UC1', b'32FC1')
            for codec, image in images_by_codec.items()
        ),
        b'16UC1; png compressed \n' + png,
        b'zstd\n' + struct.pack('<IIBII', 8, 8, 0, 16, 5) + b'16UC1' + gzip.compress(bytes(128)),
    ]


def _zstd_images() -> list[bytes]:
    fields = struct.pack('<IIBII', 8, 8, 0, 24, 4)
    return [fields + b'rgb8' + gzip.compress(bytes(192), mtime=0)]


def _prompts() -> list[bytes]:
    texts = (
        'background\nred ball|crimson ball\ncar',
        '\u732b\ncafe\u0301',
        '\u202efar\n\U0001f40e',
    )
    return [text.encode() for text in texts]


def _messages() -> list[bytes]:
    """Images in CDR: one raw, one compressed."""
    types = typestore().types
    stamp = types['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
    header = types['std_msgs/msg/Header'](stamp=stamp, frame_id='lens')
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    image = images.to_message(pixels, 'rgb8', header, types[IMAGE])
    picture = types[COMPRESSED](
        header=header, format='jpeg', data=np.frombuffer(_pictures()[0], np.uint8)
    )
    return [
        bytes(typestore().serialize_cdr(message, type_name))
        for message, type_name in ((image, IMAGE), (picture, COMPRESSED))
    ]


def _write_bag(path: Path, storage: StoragePlugin) -> None:
    with Writer(path, version=9, storage_plugin=storage) as writer:
        for topic, type_name, message in zip(
            ('/camera/image_raw', '/other'), (IMAGE, COMPRESSED), _messages(), strict=True
        ):
            connection = writer.add_connection(topic, type_name, typestore=typestore())
            for index in range(3):
                writer.write(connection, _START_NS + index, message)


def _bag_content(storage: StoragePlugin, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _write_bag(Path(folder, 'bag'), storage)
        return Path(folder, 'bag', name).read_bytes()


def _unchunked_content() -> bytes:
    """An mcap file without chunks: three messages of a text."""
    file = io.BytesIO()
    writer = McapWriter(file, use_chunking=False)
    writer.start('ros2')
    schema = writer.register_schema('std_msgs/msg/String', 'ros2msg', b'string data')
    channel = writer.register_channel('/talk', 'cdr', schema)
    for index in range(3):
        writer.add_message(channel, _START_NS + index, b'\0\1\0\0\2\0\0\0a\0', _START_NS)
    writer.finish()
    return file.getvalue()


@cache
def _log_content() -> tuple[bytes, bytes]:
    """A .db3 of small pages, and the log with a message that was written since."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'bag.db3')
        path.write_bytes(_bag_content(StoragePlugin.SQLITE3, 'bag.db3'))
        connection = sqlite3.connect(path)
        connection.executescript('PRAGMA page_size=512; VACUUM; PRAGMA journal_mode=WAL')
        connection.execute('INSERT INTO messages SELECT id + 9, 1, timestamp, data FROM messages')
        connection.commit()
        log = path.with_name('bag.db3-wal').read_bytes()
        database = path.read_bytes()
        connection.close()
    return database, log
