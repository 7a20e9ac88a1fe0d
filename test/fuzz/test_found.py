# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `make fuzz` has found, each by its target again."""

import resource

import pytest

pytest.importorskip('rosbags', reason='recordings need rosbags')

from targets import TARGETS

FOUND = {
    # a PNG of 144 bytes, a part of which claims to be 3.6 GB long: OpenCV took the memory first
    'compressed_image': [
        '89504e470d0a1a0a0000000d49484452000000100000000c08020000aa850000d6e40000564944415428'
        '1595c10101430000004541cf2f60129804260912b0242301928c0448321220c132fc3b420239c85f991c'
        'bc9b5a0ec6a197836d5de4e0be4e39489f891c546521075dfb918379facac1b1ffe4207e4472fc0182e5'
        '16a5e553b2180000000049454e44ae426082'
    ],
}
MOST_KIB = 2**20  # of memory: 1 GiB, more than any of these targets needs


@pytest.mark.parametrize(
    ('target', 'content'), [(name, text) for name, texts in FOUND.items() for text in texts]
)
def test_found(target, content):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    TARGETS[target](bytes.fromhex(content))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB
