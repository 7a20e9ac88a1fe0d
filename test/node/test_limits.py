# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images past the limits cost a count and a line; the limits are parameters."""

import numpy as np
from golden_data import golden
from harness import NodeProcess, Peer


def test_limits_are_parameters(parameters, tmp_path):
    image = golden('image_160x208_plain')['image']
    limited = {
        **parameters,
        'max_pixels': 160 * 208,
        'qos_overrides./camera/image_raw.subscription.reliability': 'reliable',
    }
    with NodeProcess(limited, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.send(np.zeros((161, 208, 3), np.uint8), 1)
        node.wait_for_log('at most 33280 are allowed')
        peer.send(image, 2)
        assert peer.of_frame('frame_info', 2).frames_rejected == 1
        assert not [m for m in peer.messages('labels') if m.header.stamp.sec == 1]
        assert node.end() == 0, node.log
