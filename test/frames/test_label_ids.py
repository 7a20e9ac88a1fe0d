# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Label images as messages: ids of any width, byte order and padding."""

from types import SimpleNamespace

import numpy as np
import pytest

from clip_dinoiser_ros.frames.images import ImageError, to_ids

IDS = np.array([[0, 1, 200], [255, 7, 3]])


def message(ids, encoding, dtype, big_endian=False, padding=0):
    rows = ids.astype(np.dtype(dtype).newbyteorder('>' if big_endian else '<'))
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(ids), -1)
    data = np.pad(data, ((0, 0), (0, padding)), constant_values=9)
    return SimpleNamespace(
        height=len(ids),
        width=ids.shape[1],
        encoding=encoding,
        is_bigendian=big_endian,
        step=data.shape[1],
        data=data.ravel(),
    )


@pytest.mark.parametrize('padding', [0, 8])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize(
    ('encoding', 'dtype', 'largest'),
    [
        ('mono8', np.uint8, 255),
        ('8UC1', np.uint8, 255),
        ('mono16', np.uint16, 65535),
        ('16UC1', np.uint16, 65535),
        ('32SC1', np.int32, 2**31 - 1),
    ],
)
def test_ids_are_read_as_they_are(encoding, dtype, largest, big_endian, padding):
    ids = IDS.copy()
    ids[0, 0] = largest
    found = to_ids(message(ids, encoding, dtype, big_endian, padding))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, ids)


@pytest.mark.parametrize('encoding', ['rgb8', '32FC1', 'mono32', ''])
def test_other_encodings_are_refused(encoding):
    with pytest.raises(ImageError, match='has no ids; allowed: mono8, 8UC1, mono16, 16UC1, 32SC1'):
        to_ids(message(IDS, encoding, np.uint8))


def test_a_message_that_is_too_short_is_refused():
    short = message(IDS, 'mono16', np.uint16)
    short.data = short.data[:-1]
    with pytest.raises(ImageError, match='data of 11 bytes'):
        to_ids(short)
