# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node warns in its log, once for each vocabulary, of prompts that work against each other."""

import pytest

HOLES = 'the background filter will make holes in'
ALONE = 'is the only class'


@pytest.fixture(scope='module')
def parameters(parameters):
    return {**parameters, 'prompts': ['background', 'person', 'road|street']}


def test_it_warns_once_for_each_vocabulary(node, peer):
    node.wait_for_log(f"{HOLES} 'road|street'")  # of the parameter file
    assert node.log.count(HOLES) == 1
    assert peer.set(gamma=0.3, min_confidence=0.1)[0].successful  # the same vocabulary
    assert peer.set(prompts=['background', 'person', 'wall', 'sky'])[0].successful
    node.wait_for_log(f"{HOLES} 'wall', 'sky'")
    assert peer.set(background='')[0].successful
    assert peer.set(prompts=['person'])[0].successful
    node.wait_for_log(f"'person' {ALONE}")
    assert peer.set(prompts=['person', 'wall'])[0].successful
    assert node.log.count(HOLES) == 2
    assert node.log.count(ALONE) == 1
    assert 'WARN' in next(line for line in node.lines if HOLES in line)
