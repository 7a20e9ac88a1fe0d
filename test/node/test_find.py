# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The service ~/find, over DDS and in the process of the node."""

import signal
import sys
import threading
import time

import pytest
from clip_dinoiser_ros.srv import Find
from golden_data import most_shown_first
from harness import NAME, Peer, Program, holdings

from clip_dinoiser_ros.node.jobs import MOST_WAITING

ANY_AGE = 1e6
RATE_HZ = 1000
FULL = f'{MOST_WAITING} requests wait already; ask again when some are answered'
ASKS_AND_WAITS = f"""
import rclpy
from clip_dinoiser_ros.srv import Find
rclpy.init()
node = rclpy.create_node('waits')
client = node.create_client(Find, '{NAME}/find')
client.wait_for_service()
while rclpy.ok():
    client.call_async(Find.Request(text='sky', max_age_s=0.0, timeout_s=60.0))
    rclpy.spin_once(node, timeout_sec=0.05)
"""
QUICK = {'timeout_s': 0.2, 'max_age_s': 0.0}


def show(peer, image, index):
    message = peer.send(image, index)
    return message, peer.of_frame('frame_info', index).frames_segmented


def test_the_newest_frame_answers_without_a_second_pass(peer, image, golden_segmenter):
    text, *contrast = most_shown_first(golden_segmenter, image)
    message, segmented = show(peer, image, 60)
    answer = peer.ask(
        'find',
        text=text,
        contrast=contrast,
        max_age_s=ANY_AGE,
        min_confidence=0.0,
        min_object_size=0.01,
    )
    assert (answer.success, answer.message, list(answer.cameras)) == (True, '', ['camera'])
    assert answer.objects
    assert all(one.header == message.header for one in answer.objects)
    assert not any(one.is_located for one in answer.objects)
    scores = [one.score for one in answer.objects]
    assert scores == sorted(scores, reverse=True)
    _, after = show(peer, image, 61)
    assert after == segmented + 1  # no frame was segmented for the question


def test_an_old_frame_is_not_enough(peer, image):
    """A question that wants a new frame gets it, and lets others go first."""
    show(peer, image, 62)
    answers = []
    with Peer() as other:
        asking = threading.Thread(
            target=lambda: answers.append(
                other.ask('find', text='sky', max_age_s=0.0, timeout_s=60.0)
            )
        )
        asking.start()
        assert peer.ask('find', text='sky', max_age_s=ANY_AGE).success
        index = 63
        while asking.is_alive():
            show(peer, image, index)
            index += 1
            asking.join(0.1)
    assert answers[0].success


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (QUICK, 'no frame of camera within timeout_s 0.2'),
        ({'camera': 'rear'}, "camera is 'rear'; it must be one of camera, or empty for all"),
        ({'text': ' '}, 'text is empty'),
        ({'text': 'a||b'}, 'empty synonym'),
        ({'text': 'word ' * 80}, 'more than 75 tokens'),
        ({'contrast': ['sky']}, "'sky' is given twice"),
        ({'min_confidence': 2.0}, 'min_confidence is 2; allowed is 0 to 1'),
        ({'min_confidence': float('nan')}, 'min_confidence is nan'),
        ({'min_object_size': float('nan')}, 'min_object_size is nan'),
        ({'max_age_s': -1.0}, 'max_age_s is -1; allowed is 0 or more'),
        ({'timeout_s': 61.0}, 'timeout_s is 61; allowed is 0 to 60'),
    ],
)
def test_a_bad_request_is_refused_and_nothing_else_changes(peer, image, changes, reason):
    _, segmented = show(peer, image, 80)
    before = peer.get('prompts')
    answer = peer.ask('find', **{'text': 'sky', 'max_age_s': ANY_AGE, **changes})
    assert (answer.success, len(answer.objects), len(answer.cameras)) == (False, 0, 0)
    assert reason in answer.message
    assert peer.get('prompts') == before
    assert show(peer, image, 81)[1] == segmented + 1


def test_a_target_frame_that_cannot_be_reached(peer, image):
    """Without tf2_ros it says so; with it, that there is no transform."""
    show(peer, image, 90)
    answer = peer.ask('find', text='sky', max_age_s=ANY_AGE, target_frame='nowhere', timeout_s=0.5)
    assert not answer.success
    assert "target_frame 'nowhere'" in answer.message.replace('is ', '')


def test_a_client_that_dies_while_it_waits(node, peer, image):
    """Its questions wait for a frame and keep others out; then they are gone, without a trace."""
    show(peer, image, 100)
    with Program(sys.executable, '-c', ASKS_AND_WAITS) as client:
        peer.until(lambda: peer.ask('find', text='sky', max_age_s=ANY_AGE).message == FULL)
        client.process.send_signal(signal.SIGKILL)
        client.process.wait()
    index = 101
    while not peer.ask('find', text='sky', max_age_s=ANY_AGE).success:
        show(peer, image, index)
        index += 1
    assert peer.state() == 'active'


def storm(peer, seconds):
    """Ask so often that most cannot be answered; return the answers that came."""
    client = peer._client(Find, f'{NAME}/find')
    start_s, futures = time.monotonic(), []
    for number in range(RATE_HZ * seconds):
        request = Find.Request(text=f'thing {number % 100}', max_age_s=ANY_AGE)
        if number % 3 == 0:
            request.min_confidence = float('nan')
        futures.append(client.call_async(request))
        time.sleep(max(0.0, start_s + number / RATE_HZ - time.monotonic()))
    # answers get lost too: DDS keeps the last ten that this process has not taken
    peer.until(lambda: peer.ask('find', text='sky', max_age_s=ANY_AGE).success)
    for future in futures:
        client.remove_pending_request(future)
    return [future.result() for future in futures if future.done()]


def check_storm(peer, image, seconds, first):
    _, before = show(peer, image, first)
    answers = storm(peer, seconds)
    refused = {answer.message for answer in answers if not answer.success}
    assert refused <= {FULL, 'min_confidence is nan; allowed is 0 to 1'}
    assert any(answer.success for answer in answers)
    assert peer.state() == 'active'
    assert show(peer, image, first + 1)[1] == before + 1


def test_a_storm_of_questions_is_answered_or_refused(peer, image):
    check_storm(peer, image, 1, 200)


@pytest.mark.long
def test_a_long_storm_leaves_nothing_behind(node, peer, image):
    check_storm(peer, image, 5, 210)
    before = holdings(node.process.pid)
    check_storm(peer, image, 30, 220)
    after = holdings(node.process.pid)
    assert after['rss_mib'] < before['rss_mib'] + 20
    assert (after['fds'], after['threads']) == (before['fds'], before['threads'])
