# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The service ~/find, over DDS and in the process of the node."""

import threading

import pytest
from golden_data import most_shown_first
from harness import Peer

ANY_AGE = 1e6
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
