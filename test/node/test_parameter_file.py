# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A parameter file as hands write it: integers for floats, one string for a list of one."""

from harness import NodeProcess, Peer, declared_types


def test_what_hands_write_into_a_file_is_taken(parameters, tmp_path):
    written = {
        **parameters,
        'prompts': 'grass',
        'negative_prompts': [],
        'delta': 1,
        'diagnostics_period': 2,
        'camera.max_rate': 5,
        'camera.region': [0, 0, 1, 1],
    }
    with NodeProcess(written, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        names = ['prompts', 'negative_prompts', 'delta', 'diagnostics_period']
        names += ['camera.max_rate', 'camera.region']
        assert peer.get(*names) == [['grass'], [], 1.0, 2.0, 5.0, [0.0, 0.0, 1.0, 1.0]]
        assert declared_types(peer, *names) == [9, 9, 3, 3, 3, 8]
        assert peer.set(**{'camera.max_rate': 2, 'prompts': 'sky'})[1].successful
        assert node.end() == 0
