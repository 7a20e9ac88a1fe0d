# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Negative prompts in parameter files; a node for each, as each answers to the same name."""

import pytest
from harness import NodeProcess, Peer


@pytest.mark.parametrize(
    ('given', 'kept'),
    [([''], ['']), ([], []), (['wall', 'fence|hedge'], ['wall', 'fence|hedge'])],
)
def test_a_parameter_file_sets_them(parameters, tmp_path, given, kept):
    with NodeProcess({**parameters, 'negative_prompts': given}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        assert peer.get('negative_prompts') == [kept]
        peer.listen()
        assert list(peer.messages('vocabulary')[0].names) == parameters['prompts']
        assert node.end() == 0


def test_a_name_in_both_lists_keeps_the_node_from_being_configured(parameters, tmp_path):
    both = {**parameters, 'negative_prompts': ['grass']}
    with NodeProcess(both, tmp_path) as node, Peer() as peer:
        node.wait_for_log('cannot configure: positive and negative prompts: ')
        assert peer.state() == 'unconfigured'
        # what clashes with the defaults only is no clash
        assert peer.set(prompts=['dog'])[0].successful
        assert peer.set(negative_prompts=['car'])[0].successful
        assert peer.change_state('configure')
        assert node.end() == 0
