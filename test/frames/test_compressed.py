# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""JPEG and PNG, whole and damaged."""

import struct
from types import SimpleNamespace

import cv2
import image_reference as reference
import numpy as np
import pytest

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.frames.images import ImageError


@pytest.fixture
def picture():
    ramp = np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3)
    return ramp.astype(np.uint8)


def encode(picture, suffix, *options):
    return cv2.imencode(suffix, picture[..., ::-1], options)[1].tobytes()


def test_png_is_exact_and_jpeg_near(picture):
    assert np.array_equal(compressed.decode(encode(picture, '.png')), picture)
    jpeg = compressed.decode(encode(picture, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95))
    assert np.abs(jpeg.astype(int) - picture).max() < 12
    progressive = encode(picture, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert compressed.decode(np.frombuffer(progressive, np.uint8)).shape == picture.shape


def test_a_jpeg_of_ours_is_read_again(picture):
    again = compressed.decode(compressed.encode_jpeg(picture))
    assert np.abs(again.astype(int) - picture).max() < 12
    with pytest.raises(ImageError, match='70000x1 pixels are too many'):
        compressed.encode_jpeg(np.zeros((1, 70_000, 3), np.uint8))


def test_grey_and_16_bit_become_rgb(picture):
    grey = compressed.decode(cv2.imencode('.png', picture[..., 0])[1])
    assert np.array_equal(grey, np.repeat(picture[..., :1], 3, axis=2))
    deep = compressed.decode(cv2.imencode('.png', picture[..., 0].astype(np.uint16) * 257)[1])
    assert np.array_equal(deep, grey)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_cut_images_are_refused(picture, suffix):
    content = encode(np.random.default_rng(0).permutation(picture), suffix)
    for end in (0, 3, 20, len(content) // 2, len(content) - 20):
        with pytest.raises(ImageError):
            compressed.decode(content[:end])


def test_size_is_read_before_anything_is_decoded(picture):
    png = bytearray(encode(picture, '.png'))
    png[16:24] = struct.pack('>II', 100_000, 100_000)
    with pytest.raises(ImageError, match='100000x100000 pixels; allowed: 1 to 67108864'):
        compressed.decode(bytes(png))
    jpeg = bytearray(encode(picture, '.jpg'))
    place = jpeg.index(b'\xff\xc0')
    jpeg[place + 5 : place + 9] = b'\xff\xff\xff\xff'
    with pytest.raises(ImageError, match='65535x65535'):
        compressed.decode(bytes(jpeg))


def test_oversized_or_truncated_images_never_reach_the_decoder(picture, monkeypatch):
    png, jpeg = bytearray(encode(picture, '.png')), encode(picture, '.jpg')
    png[16:24] = struct.pack('>II', 100_000, 100_000)
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: pytest.fail('decoded'))
    for content in (bytes(png), jpeg[: len(jpeg) // 2], b'hello'):
        with pytest.raises(ImageError):
            compressed.decode(content)


def test_other_bytes_are_refused():
    with pytest.raises(ImageError, match='5 bytes are neither JPEG nor PNG'):
        compressed.decode(b'hello')


@pytest.mark.parametrize(
    'marker', [b'\xff\x00', b'\xff\x01', b'\xff\xd0', b'\xff\xe5', b'\x00\x00']
)
@pytest.mark.parametrize('length', [0, 1, 7, 65535])
def test_checked_size_is_the_size_that_is_decoded(picture, marker, length):
    """Who takes a length for granted, or takes it for none, jumps to another size."""
    jpeg = encode(picture, '.jpg')
    small = b'\xff\xc0\x00\x11\x08\x00\x02\x00\x02'
    hidden = marker + struct.pack('>H', length) + jpeg[2:-2] + small + b'\xff\xd9'
    content = b'\xff\xd8' + (b'\xff' * (marker[0] == 0)) + hidden
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    try:
        size = compressed.dimensions(content)
    except ImageError:
        assert opencv is None
        return
    assert size == (60, 80)
    assert opencv is None or opencv.shape[:2] == size


def test_a_second_start_is_refused(picture):
    jpeg = encode(picture, '.jpg')
    with pytest.raises(ImageError, match='without image size'):
        compressed.decode(jpeg[:2] + jpeg)


def test_a_part_of_a_png_that_claims_gigabytes(picture):
    png = encode(picture, '.png')
    place = png.index(b'IDAT') - 4
    claims = png[:place] + b'\xd6\xe4\x00\x00' + png[place + 4 :]
    with pytest.raises(ImageError, match='a chunk extends to byte 36052'):
        compressed.decode(claims)
    with pytest.raises(ImageError, match='neither JPEG nor PNG'):  # IHDR is not the first
        compressed.decode(png[:8] + struct.pack('>I', 4) + b'teXt' + bytes(8) + png[8:])


def test_limits(picture):
    for content in (encode(picture, '.png'), encode(picture, '.jpg')):
        assert compressed.decode(content, max_pixels=4800, max_bytes=len(content)).shape[0] == 60
        with pytest.raises(ImageError, match='80x60 pixels; allowed: 1 to 4799'):
            compressed.decode(content, max_pixels=4799)
        with pytest.raises(ImageError, match=f'at most {len(content) - 1} are allowed'):
            compressed.decode(content, max_bytes=len(content) - 1)


def test_a_jpeg_of_thousands_of_scans_is_refused(picture):
    jpeg = encode(picture, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = jpeg.rindex(b'\xff\xda')
    many = jpeg[:-2] + jpeg[last:-2] * 1000 + jpeg[-2:]
    with pytest.raises(ImageError, match=r'of 10\d\d scans; at most 100 are allowed'):
        compressed.decode(many)


def test_a_jpeg_of_thousands_of_segments_is_refused(picture):
    jpeg = encode(picture, '.jpg')
    many = jpeg[:2] + b'\xff\xe5\0\2' * 10_000 + jpeg[2:]
    with pytest.raises(ImageError, match='more than 10000 segments'):
        compressed.decode(many)


BEHIND = {
    'zeros': bytes(100_000),
    'ones': b'\xff' * 100_000,
    'a film of ten megabytes': np.random.default_rng(1).bytes(10_000_000),
    'many scans': b'\xff\xda\0\2' * 1000,
}


@pytest.mark.parametrize('kind', BEHIND)
@pytest.mark.parametrize('progressive', [0, 1])
def test_bytes_after_the_end_of_a_jpeg_are_not_read(picture, kind, progressive):
    jpeg = encode(picture, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    expected = compressed.decode(jpeg)
    assert np.array_equal(compressed.decode(jpeg + BEHIND[kind]), expected)
    second = encode(np.zeros((30, 20, 3), np.uint8), '.jpg')
    assert np.array_equal(compressed.decode(jpeg + second + BEHIND[kind] + second), expected)


def test_a_cut_jpeg_with_something_behind_it_is_refused(picture):
    jpeg = encode(np.random.default_rng(0).permutation(picture), '.jpg')
    thumbnail = b'\xff\xe1' + struct.pack('>H', 2 + len(jpeg)) + jpeg
    for cut in (jpeg[: len(jpeg) // 2], jpeg[:2] + thumbnail + jpeg[2 : len(jpeg) // 2]):
        for behind in (bytes(10_000), jpeg, bytes(10_000) + jpeg):
            with pytest.raises(ImageError, match='cut off'):
                compressed.decode(cut + behind)


@pytest.mark.parametrize(
    'stray',
    [b'\0\1\2', b'\xff\0', b'\xff\xff\xff', b'\xff\xe5\0\0', b'\xff\xe1\0\1', b'\xff\xe1\0\6ab'],
)
def test_a_jpeg_with_a_header_that_opencv_forgives_is_read(picture, stray):
    jpeg = encode(picture, '.jpg')
    place = jpeg.index(b'\xff\xdb')
    odd = jpeg[:place] + stray + b'cd' * stray.endswith(b'ab') + jpeg[place:]
    assert np.array_equal(compressed.decode(odd), compressed.decode(jpeg))


def sent(form, pixels, suffix='.png'):
    """What has the fields of a CompressedImage; `pixels` as OpenCV orders them."""
    return SimpleNamespace(format=form, data=cv2.imencode(suffix, pixels)[1])


def smooth_mosaic(dtype):
    return np.add.outer(np.arange(20) * 3, np.arange(30) * 5).astype(dtype) * (
        257 if dtype == np.uint16 else 1
    )


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize(
    ('form', 'suffix', 'dtype'),
    [
        ('bayer_{}8; png compressed ', '.png', np.uint8),
        ('bayer_{}16; png compressed ', '.png', np.uint16),
        ('bayer_{}8; jpeg compressed bayer_{}8', '.jpg', np.uint8),
        ('bayer_{}16; jpeg compressed ', '.jpg', np.uint8),
        (' bayer_{}8 ;png', '.png', np.uint8),
        ('bayer_{}8', '.png', np.uint8),
    ],
)
def test_the_format_says_that_grey_is_a_mosaic(pattern, form, suffix, dtype):
    message = sent(form.replace('{}', pattern), smooth_mosaic(dtype), suffix)
    samples = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
    assert samples.dtype == dtype
    raw = SimpleNamespace(
        height=20,
        width=30,
        encoding=f'bayer_{pattern}{samples.itemsize * 8}',
        is_bigendian=0,
        step=30 * samples.itemsize,
        data=samples.astype(f'<u{samples.itemsize}').tobytes(),
    )
    assert np.abs(compressed.to_rgb(message) - reference.decode(raw)).max() <= 1


@pytest.mark.parametrize(
    'form',
    [
        '',
        'png',
        'jpeg',
        'image/jpeg',
        'mono8; png compressed ',
        '8UC1; png compressed ',
        'png; grey',
    ],
)
def test_grey_stays_grey(picture, form):
    image = compressed.to_rgb(sent(form, picture[..., 0]))
    assert np.array_equal(image, np.repeat(picture[..., :1], 3, axis=2))


@pytest.mark.parametrize('form', ['mono16; png compressed ', '16UC1; png compressed ', 'png'])
def test_16_bits_are_scaled_to_the_nearest_level(form):
    deep = np.random.default_rng(3).integers(0, 65536, (40, 50), dtype=np.uint16)
    image = compressed.to_rgb(sent(form, deep))
    assert np.array_equal(image, np.repeat(np.rint(deep / 257)[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize('form', ['rgb16; png compressed bgr16', 'bgr16; png compressed bgr16'])
def test_16_bit_colours_too(form):
    deep = np.random.default_rng(3).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    image = compressed.to_rgb(sent(form, deep))
    assert np.array_equal(image, np.rint(deep[..., ::-1] / 257))


@pytest.mark.parametrize(
    'form', ['bayer_rggb8; jpeg compressed bgr8', 'yuv422; jpeg compressed bgr8', 'rgb8; png']
)
def test_colour_was_converted_by_the_sender(picture, form):
    image = compressed.to_rgb(sent(form, picture[..., ::-1]))
    assert np.array_equal(image, picture)


# what image_transport makes of encodings that it does not take for colour
@pytest.mark.parametrize(
    'form', ['yuv422_yuy2; jpeg compressed mono8', 'bayer_rggb8; jpeg compressed mono8']
)
def test_grey_was_converted_by_the_sender(picture, form):
    image = compressed.to_rgb(sent(form, picture[..., 0]))
    assert np.array_equal(image, np.repeat(picture[..., :1], 3, axis=2))


def test_transparency_is_dropped(picture):
    pixels = np.dstack([picture[..., ::-1], np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)])
    assert np.array_equal(compressed.to_rgb(sent('bgra8; png compressed bgra8', pixels)), picture)


def test_a_message_without_data_is_named():
    message = SimpleNamespace(format='8UC1; jpeg compressed mono8', data=b'')
    with pytest.raises(ImageError, match='no data; the sender could not encode it'):
        compressed.to_rgb(message)


@pytest.mark.parametrize('encoding', ['bayer_rggb12', 'yuv422', 'nv24', 'nv12', '32FC1', 'x' * 999])
def test_grey_that_is_said_to_be_something_else_is_refused(picture, encoding):
    with pytest.raises(ImageError, match='a grey image declared as') as caught:
        compressed.to_rgb(sent(f'{encoding}; png compressed ', picture[..., 0]))
    assert 'set the encoding of the driver' in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize('form', ['h264', 'rgb8; tiff compressed ', 'webp'])
def test_another_codec_is_named(picture, form):
    data = b'\0\0\0\1' if form == 'h264' else encode(picture, '.tiff' if ';' in form else '.webp')
    match = rf"format '{form}': {len(data)} bytes are neither.*republish"
    with pytest.raises(ImageError, match=match):
        compressed.to_rgb(SimpleNamespace(format=form, data=data))


def without_huffman_tables(content):
    """What many USB cameras send: the tables are those of the standard, so they are left out."""
    kept, place = content[:2], 2
    while content[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
        kept += b'' if content[place + 1] == 0xC4 else content[place:end]
        place = end
    return kept + content[place:]


def test_a_jpeg_without_huffman_tables_is_read(picture):
    content = encode(picture, '.jpg')
    bare = without_huffman_tables(content)
    assert len(bare) < len(content) - 400
    assert np.array_equal(compressed.decode(bare), compressed.decode(content))


def test_stray_bytes_before_a_restart_mark_are_passed_over(picture):
    content = encode(picture, '.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
    place = content.index(b'\xff\xd1')
    stray = content[:place] + b'\x12\x34\x56' + content[place:]
    assert np.array_equal(compressed.decode(stray), compressed.decode(content))
