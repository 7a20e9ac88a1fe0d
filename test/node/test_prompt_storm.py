# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Prompts that change as fast as the service answers, while frames are segmented."""

import contextlib
import random

import numpy as np
import pytest
from golden_data import golden
from harness import InstalledNode, Peer, array, every_vocabulary, holdings, ticking

CHANGES = 300  # at least: three seconds of a hundred a second, where the machine is that fast
VOCABULARIES = 10  # of which frames must have come before a storm is over
MOST_CHANGES = 20 * CHANGES  # for them
FRAME_S = 0.03


@contextlib.contextmanager
def frames_flowing(peer):
    """Frames from this peer in a thread, one stamp after the other."""
    image = golden('image_160x208_plain')['image']
    peer.connect()
    with ticking(lambda index: peer.send(image, index), FRAME_S):
        yield


def versions(peer):
    """The vocabularies of the frames that have come."""
    return {info.vocabulary_version for info in peer.messages('frame_info')}


def storm(operator, peer, prompts):
    """Set some of the prompts in some order, over and over; return the last ones, set only once."""
    chance, last = random.Random(0), prompts[::-1]
    for change in range(1, MOST_CHANGES + 1):
        over = change >= CHANGES and len(versions(peer)) >= VOCABULARIES
        words = last if over else chance.sample(prompts, chance.randrange(1, len(prompts)))
        (result,) = operator.set(prompts=words)
        assert result.successful, result.reason
        if over:
            return last
    pytest.fail(f'after {MOST_CHANGES} changes, frames of {len(versions(peer))} vocabularies')


def frame_of(peer, words, after=0):
    """Wait for a frame that was segmented with these prompts, announced after a version."""
    announced = peer.wait('vocabulary', lambda m: list(m.names) == words and m.version > after)
    return peer.wait('frame_info', lambda m: m.vocabulary_version >= announced.version)


def check_ids(labels, vocabulary):
    values = set(np.unique(array(labels)).tolist())
    assert values <= {*vocabulary.ids, vocabulary.unlabelled_id}


@pytest.mark.long
def test_changes_as_fast_as_they_are_answered(parameters, tmp_path, golden_prompts):
    """Over DDS, where announcements and frames come in any order, so all is judged at the end."""
    parameters = {**parameters, **every_vocabulary('camera')}
    with InstalledNode(parameters, tmp_path) as node, Peer() as peer, Peer() as operator:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        with frames_flowing(peer):
            operator.set(prompts=golden_prompts)
            peer.until(lambda: peer.messages('frame_info'))
            before = holdings(node.process.pid)
            last = storm(operator, peer, golden_prompts)
            assert operator.get('prompts') == [last]
            newest = frame_of(peer, last)
            operator.set(prompts=golden_prompts)  # as many topics of classes as before
            frame_of(peer, golden_prompts, after=newest.vocabulary_version)
            after = holdings(node.process.pid)
        vocabularies = {m.version: m for m in peer.messages('vocabulary')}
        infos = {m.header.stamp.sec: m for m in peer.messages('frame_info')}
        used = [info.vocabulary_version for info in infos.values()]
        assert used == sorted(used)
        assert list(vocabularies[newest.vocabulary_version].names) == last
        assert len(set(used)) >= VOCABULARIES
        assert set(used) <= vocabularies.keys()
        for labels in peer.messages('labels'):
            info = infos.get(labels.header.stamp.sec)
            if info is not None:  # of the last one it may be on its way
                check_ids(labels, vocabularies[info.vocabulary_version])
        assert (after['threads'], after['fds']) == (before['threads'], before['fds'])
        assert node.end() == 0
        assert 'Traceback' not in node.log


@pytest.mark.long
def test_announced_before_it_is_used(active_node, monkeypatch, golden_prompts):
    """In the order in which the node publishes."""
    published = []
    outputs = active_node._pipeline.publishers['camera']._publishers
    for name in ('vocabulary', 'label_info', 'labels', 'frame_info'):
        publish = outputs[name].publish

        def record(message, name=name, publish=publish):
            published.append((name, message))
            publish(message)

        monkeypatch.setattr(outputs[name], 'publish', record)
    with Peer() as peer, Peer() as operator:
        peer.listen()
        with frames_flowing(peer):
            last = storm(operator, peer, golden_prompts)
            frame_of(peer, last)
    newest, segmented = {}, 0
    first = next(i for i, (name, _) in enumerate(published) if name == 'vocabulary')
    for name, message in published[first - 1 :]:  # from the first announcement that is recorded on
        if name == 'frame_info':
            assert message.header == newest['labels'].header
            assert message.vocabulary_version == newest['vocabulary'].version
            segmented += 1
        elif name == 'labels':
            check_ids(message, newest['vocabulary'])
            classes = [c.class_id for c in newest['label_info'].class_map]
            assert classes == list(newest['vocabulary'].ids)
        newest[name] = message
    assert segmented >= VOCABULARIES - 1  # not those of the vocabulary it began with
    assert list(newest['vocabulary'].names) == last
