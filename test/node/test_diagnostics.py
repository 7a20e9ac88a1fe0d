# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""/diagnostics as an operator sees it: four states, and what keeps frames from coming."""

import numpy as np
import pytest
from harness import BEST_EFFORT, RELIABLE, NodeProcess
from operating import MODEL, Operator, values
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import images

OK, WARN, ERROR, STALE = (bytes([level]) for level in range(4))


@pytest.fixture
def quick(parameters):
    """Parameters for a node that is soon out of patience."""
    return {**parameters, 'diagnostics_period': 0.2, 'stale_after': 1.0}


def test_all_states(quick, image, tmp_path):
    cameras = {'cameras': ['front', 'rear', 'broken', 'silent']}
    with NodeProcess({**quick, **cameras}, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        waiting = peer.in_state('silent', 'waiting')
        assert waiting.level == WARN
        assert waiting.message == 'waiting: no publisher on /silent/image_raw'
        for camera in ('front', 'rear'):
            peer.listen(camera)
            peer.connect(f'/{camera}/image_raw')

        # the rear camera ends here, the front one goes on
        broken = images.to_message(image, 'rgb8', Header(frame_id='broken'), Image)
        broken.step = 5
        publisher = peer.node.create_publisher(Image, '/broken/image_raw', RELIABLE)
        index = 0

        def all_seen():
            nonlocal index
            index += 1
            peer.send(image, index, '/front/image_raw')
            publisher.publish(broken)
            states = {
                'front': 'active',
                'rear': 'stale',
                'broken': 'rejected',
                'silent': 'waiting',
            }
            return all(peer.shows(name, state) for name, state in states.items())

        peer.until(all_seen)
        newest = peer.arrays[-1]
        front, rear, broken, _, model = (
            newest[f'clip_dinoiser: {name}']
            for name in ('front', 'rear', 'broken', 'silent', MODEL)
        )
        assert (front.level, front.message) == (OK, 'active')
        assert (rear.level, rear.message[:19]) == (STALE, 'stale: no frame for')
        assert broken.level == ERROR
        assert 'step' in values(broken)['last_reject_reason']
        assert int(values(broken)['frames_rejected']) > 0
        assert values(broken)['frames_segmented'] == '0'
        assert int(values(front)['frames_segmented']) > 0
        assert float(values(front)['rate_in_hz']) > 0
        assert float(values(front)['rate_out_hz']) > 0
        assert values(front)['topic'] == '/front/image_raw'
        assert (model.level, model.message) == (OK, 'active')

        mended = images.to_message(image, 'rgb8', Header(frame_id='mended'), Image)
        peer.until(lambda: publisher.publish(mended) or peer.shows('broken', 'active'))
        assert node.end() == 0
        assert 'Traceback' not in node.log


def test_the_model(quick, image, tmp_path):
    with NodeProcess({**quick, 'autostart': False}, tmp_path) as node, Operator() as peer:
        status = peer.status(MODEL)
        assert (status.level, status.message) == (WARN, 'unconfigured')
        assert values(status) == {
            'state': 'unconfigured',
            'clock': 'system',
            'unclean_ends': '0',
            'clock_jumps_back': '0',
        }
        assert peer.set(heads='/no/heads')[0].successful
        assert not peer.change_state('configure')
        failed = peer.status(MODEL, lambda s: s.level == ERROR)
        assert "cannot configure: heads '/no/heads'" in failed.message
        assert peer.set(heads=quick['heads'])[0].successful
        assert peer.change_state('configure')
        idle = peer.status(MODEL, lambda s: s.message == 'inactive')
        assert idle.level == WARN
        assert peer.change_state('activate')
        peer.listen()
        peer.send(image, 1)
        peer.of_frame('frame_info', 1)
        figures = values(peer.status(MODEL, lambda s: 'total_ms_p95' in values(s)))
        assert figures['model'] == quick['model']
        assert (figures['device'], figures['precision']) == ('cpu', 'fp32')
        assert figures['engine'] == 'torch'
        assert (figures['vocabulary_version'], figures['classes']) == ('1', '7')
        assert float(figures['total_ms_p95']) >= float(figures['segment_ms_median']) > 0
        assert not [key for key in figures if key.startswith('gpu')]
        assert peer.set(prompts=['dog', 'cat'])[0].successful
        peer.status(MODEL, lambda s: values(s)['vocabulary_version'] == '2')
        assert values(peer.status(MODEL))['classes'] == '2'
        assert node.end() == 0


def test_no_diagnostics_when_switched_off(parameters, tmp_path):
    off = {**parameters, 'diagnostics_period': 0.0}
    with NodeProcess(off, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        peer.listen()
        peer.send(np.zeros((64, 64, 3), np.uint8), 1)
        peer.of_frame('frame_info', 1)
        assert not peer.arrays


def test_a_remapped_camera(quick, image, tmp_path):
    """Log and diagnostics show where the images come from."""
    remapped = ['-r', 'camera/image_raw:=/rig/left']
    with NodeProcess(quick, tmp_path, remapped) as node, Operator() as peer:
        node.wait_for_log('active; waiting for images on /rig/left')
        peer.listen()
        peer.send(image, 1, '/rig/left')
        peer.of_frame('labels', 1)
        assert values(peer.in_state('camera', 'active'))['topic'] == '/rig/left'
        assert node.end() == 0


def test_a_publisher_whose_qos_does_not_match_is_named(quick, image, tmp_path):
    reliable = {'qos_overrides./camera/image_raw.subscription.reliability': 'reliable'}
    with NodeProcess({**quick, **reliable}, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        publisher = peer.node.create_publisher(Image, '/camera/image_raw', BEST_EFFORT)
        node.wait_for_log('the QoS policy reliability of a publisher does not match')
        assert 'set qos_overrides./camera/image_raw.subscription.reliability' in node.log
        status = peer.status('camera', lambda s: s.level == ERROR)
        assert values(status)['state'] == 'waiting'
        assert 'Best effort publisher and reliable subscription' in values(status)['reason']
        peer.node.destroy_publisher(publisher)
        gone = peer.status('camera', lambda s: s.level == WARN)
        assert gone.message == 'waiting: no publisher on /camera/image_raw'
        mute = peer.node.create_publisher(Image, '/camera/image_raw', RELIABLE)
        idle = peer.status('camera', lambda s: values(s)['publishers'] == '1')
        assert (idle.level, values(idle)['state']) == (WARN, 'waiting')
        assert idle.message.endswith('has 1 publisher(s), but no frame came')
        message = images.to_message(image, 'rgb8', Header(frame_id='spoken'), Image)
        peer.until(lambda: mute.publish(message) or peer.shows('camera', 'active'))
        assert node.end() == 0
        assert 'Traceback' not in node.log


def test_a_publisher_of_another_type_is_named(quick, tmp_path):
    with NodeProcess(quick, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        peer.node.create_publisher(CompressedImage, '/camera/image_raw', RELIABLE)
        status = peer.status('camera', lambda s: s.level == ERROR)
        assert values(status)['reason'] == (
            'sensor_msgs/msg/CompressedImage is published on /camera/image_raw, '
            'not sensor_msgs/msg/Image'
        )
