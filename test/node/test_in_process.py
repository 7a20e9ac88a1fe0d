# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What only counting calls can show, so the node runs in this process; DDS is real."""

import gc
import json
import socket
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from clip_dinoiser_ros.msg import DenseFeatures
from golden_data import golden
from harness import Peer, array, class_topics
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from clip_dinoiser_ros.core import weights
from clip_dinoiser_ros.core.segmentation import Patches, PatchFeatures
from clip_dinoiser_ros.core.text_tower import TextTower
from clip_dinoiser_ros.frames import compressed, process

# ~/find keeps the features of every frame
without_find = pytest.mark.parametrize('inputs', [{'services': False}])


def test_no_overlay_is_drawn_without_a_listener(active_node, monkeypatch):
    drawn = []
    draw = process.draw_overlay
    monkeypatch.setattr(process, 'draw_overlay', lambda *args: drawn.append(1) or draw(*args))
    image = golden('image_160x208_plain')['image']
    with Peer() as peer:
        peer.listen()
        for index in (1, 2):
            peer.send(image, index)
            peer.of_frame('frame_info', index)
        assert not drawn
        subscription = peer.node.create_subscription(
            Image, '/clip_dinoiser/camera/overlay', lambda m: peer._keep('overlay', m), 1
        )
        overlay = active_node._pipeline.publishers['camera']._publishers['overlay']
        peer.until(lambda: overlay.get_subscription_count() == 1)
        peer.send(image, 3)
        peer.of_frame('frame_info', 3)
        assert len(drawn) == 1
        peer.node.destroy_subscription(subscription)
        peer.until(lambda: overlay.get_subscription_count() == 0)
        peer.send(image, 4)
        peer.of_frame('frame_info', 4)
        assert len(drawn) == 1


def test_one_drawing_serves_raw_and_compressed(active_node, monkeypatch):
    drawn, encoded = [], []
    draw, encode = process.draw_overlay, compressed.encode_jpeg
    monkeypatch.setattr(process, 'draw_overlay', lambda *args: drawn.append(1) or draw(*args))
    monkeypatch.setattr(compressed, 'encode_jpeg', lambda image: encoded.append(1) or encode(image))
    image = golden('image_224x224_plain')['image']
    outputs = active_node._pipeline.publishers['camera']._publishers
    with Peer() as peer:
        peer.listen()
        peer.send(image, 1)
        peer.of_frame('frame_info', 1)
        peer.hear('overlay/compressed', CompressedImage)
        peer.until(lambda: outputs['overlay/compressed'].get_subscription_count() == 1)
        peer.send(image, 2)
        peer.of_frame('overlay/compressed', 2)
        assert (drawn, encoded) == ([1], [1])
        raw = peer.hear('overlay')
        peer.until(lambda: outputs['overlay'].get_subscription_count() == 1)
        peer.send(image, 3)
        small, large = peer.of_frame('overlay/compressed', 3), peer.of_frame('overlay', 3)
        peer.of_frame('frame_info', 3)
        assert (drawn, encoded) == ([1, 1], [1, 1])
        peer.node.destroy_subscription(raw)
    assert small.header == large.header
    assert small.format == 'rgb8; jpeg compressed bgr8'
    assert len(small.data) < len(large.data) / 2
    difference = compressed.decode(small.data).astype(int) - array(large)
    assert np.abs(difference).mean() < 5


def test_confidence_rounded_on_the_device_is_published_alike(active_node, monkeypatch):
    """The device is the CPU here; overlay and threshold need the floats that it did not bring."""
    image = golden('image_160x208_plain')['image']

    def published(peer, index):
        [drawn, *_] = peer.send_until(image, index, 'overlay', 'labels', 'confidence')
        stamp = drawn.header.stamp.sec
        return [array(peer.of_frame(o, stamp)) for o in ('labels', 'confidence', 'overlay')]

    with Peer() as peer:
        peer.listen(overlay=True)
        plain = published(peer, 1)
        asked = []
        enlarge_all = process.enlarge_all

        def record(found, size, mono8):
            asked.append(mono8)
            return enlarge_all(found, size, mono8)

        monkeypatch.setattr(process, 'leaves_as_mono8', lambda *_: True)
        monkeypatch.setattr(process, 'enlarge_all', record)
        rounded = published(peer, 100)
        assert asked[-1]
        for one, other in zip(plain, rounded, strict=True):
            np.testing.assert_array_equal(one, other)


def test_classes_are_computed_for_those_who_listen(active_node, monkeypatch, golden_prompts):
    """Each mask and each map by itself: one needs no other class's."""
    masks, maps = [], []
    mask, confidences = process.class_mask, Patches.class_confidences

    def count_mask(labels, class_id):
        masks.append(class_id)
        return mask(labels, class_id)

    def count_maps(patches, size, classes=None):
        maps.append(classes)
        return confidences(patches, size, classes)

    monkeypatch.setattr(process, 'class_mask', count_mask)
    monkeypatch.setattr(Patches, 'class_confidences', count_maps)
    image = golden('image_160x208_plain')['image']
    name = golden_prompts[2]
    with Peer() as peer:
        peer.listen()
        peer.send(image, 1)
        peer.of_frame('frame_info', 1)
        assert (masks, maps) == ([], [])
        outputs = active_node._pipeline.publishers['camera']
        heard = {
            'class_confidences': (
                outputs._publishers['class_confidences'],
                [],
                [range(len(golden_prompts))],
            ),
            class_topics(name)[0]: (outputs._classes._publishers[name]['mask'], [2], []),
            class_topics(name)[1]: (outputs._classes._publishers[name]['confidence'], [], [[2]]),
        }
        for index, (topic, (publisher, expected_masks, expected_maps)) in enumerate(heard.items()):
            listener = peer.hear(topic)
            peer.until(lambda p=publisher: p.get_subscription_count() == 1)
            peer.send(image, 10 + index)
            peer.of_frame(topic, 10 + index)
            peer.of_frame('frame_info', 10 + index)
            assert (masks, maps) == (expected_masks, expected_maps)
            peer.node.destroy_subscription(listener)
            peer.until(lambda p=publisher: p.get_subscription_count() == 0)
            peer.send(image, 20 + index)
            peer.of_frame('frame_info', 20 + index)
            assert (masks, maps) == (expected_masks, expected_maps)
            masks.clear()
            maps.clear()


def test_objects_are_found_for_those_who_listen(active_node, monkeypatch):
    """Once for both outputs."""
    found, find = [], process.find_objects
    monkeypatch.setattr(process, 'find_objects', lambda *args: found.append(1) or find(*args))
    image = golden('image_160x208_plain')['image']
    publishers = active_node._pipeline.publishers['camera']._publishers
    with Peer() as peer:
        peer.listen()
        peer.send(image, 1)
        peer.of_frame('frame_info', 1)
        assert not found
        peer.hear('detections', Detection2DArray)
        peer.hear('instances')
        heard = publishers['detections'], publishers['instances']
        peer.until(lambda: all(p.get_subscription_count() == 1 for p in heard))
        peer.send(image, 10)
        for output in ('detections', 'instances', 'frame_info'):
            peer.of_frame(output, 10)
        assert len(found) == 1


@without_find
def test_features_are_made_for_those_who_listen(active_node, monkeypatch):
    asked, made = [], []
    download, segmenter = PatchFeatures.download, active_node._pipeline.segmenter
    segment = segmenter.segment_patches
    monkeypatch.setattr(
        segmenter, 'segment_patches', lambda *args: asked.append(args[-1]) or segment(*args)
    )
    monkeypatch.setattr(PatchFeatures, 'download', lambda one: made.append(1) or download(one))
    image = golden('image_160x208_plain')['image']
    publisher = active_node._pipeline.publishers['camera']._publishers['features']
    with Peer() as peer:
        peer.listen()
        peer.send(image, 1)
        peer.of_frame('frame_info', 1)
        assert not any(asked)
        listener = peer.hear('features', DenseFeatures)
        peer.until(lambda: publisher.get_subscription_count() == 1)
        asked.clear()
        peer.send(image, 10)
        peer.of_frame('features', 10)
        peer.of_frame('frame_info', 10)
        assert (asked, made) == ([True], [1])
        peer.node.destroy_subscription(listener)
        peer.until(lambda: publisher.get_subscription_count() == 0)
        peer.send(image, 20)
        peer.of_frame('frame_info', 20)
        assert (asked, made) == ([True, False], [1])


@without_find
def test_a_frame_without_features_is_published_without_them(active_node, monkeypatch):
    """A subscriber may come while the model works on a frame."""
    image = golden('image_160x208_plain')['image']
    publishers = active_node._pipeline.publishers['camera']
    monkeypatch.setattr(publishers, 'wants_features', lambda: False)
    with Peer() as peer:
        peer.listen()
        peer.hear('features', DenseFeatures)
        heard = publishers._publishers['features']
        peer.until(lambda: heard.get_subscription_count() == 1)
        peer.send(image, 1)
        assert peer.of_frame('frame_info', 1).frames_rejected == 0
        assert not peer.messages('features')


def test_too_many_probabilities_are_refused_before_they_are_computed(active_node, monkeypatch):
    monkeypatch.setattr(process, 'MAX_CLASS_CONFIDENCES_BYTES', 7 * 160 * 208 * 4 - 1)
    computed = []
    monkeypatch.setattr(Patches, 'class_confidences', lambda *args: computed.append(1))
    image = golden('image_160x208_plain')['image']
    outputs = active_node._pipeline.publishers['camera']
    with Peer() as peer:
        peer.listen()
        peer.connect()  # its probes are smaller
        peer.hear('class_confidences')
        heard = outputs._publishers['class_confidences']
        peer.until(lambda: heard.get_subscription_count() == 1)
        for index in (1, 2, 3):
            peer.send(image, index)
            assert peer.of_frame('frame_info', index).frames_rejected == 0
        assert not peer.messages('class_confidences')
    assert outputs._refused >= 3
    assert not computed


def test_topics_of_classes_leave_executor_and_parameters_alone(active_node):
    """They come and go in the worker's thread."""
    with Peer() as peer:
        peer.listen()
        peer.set(prompts=['cat'])
        peer.wait('vocabulary', lambda m: list(m.names) == ['cat'])
        before = (
            [*active_node.waitables],
            [*active_node._parameters],
            len([*active_node.publishers]),
        )
        peer.set(prompts=['dog', 'cow'])
        peer.wait('vocabulary', lambda m: list(m.names) == ['dog', 'cow'])
        assert ([*active_node.waitables], [*active_node._parameters]) == before[:2]
        assert len([*active_node.publishers]) == before[2] + 2


def test_a_frame_gets_the_settings_of_the_moment_when_it_is_taken(active_node, monkeypatch):
    """They may have changed since the worker began to wait for it."""
    image = golden('image_160x208_plain')['image']
    take, changing = active_node._slots.take, threading.Event()
    with Peer() as peer:

        def change_then_return(rates):
            frames = take(rates)
            if frames and changing.is_set():
                changing.clear()
                assert peer.set(min_confidence=1.0)[0].successful
            return frames

        monkeypatch.setattr(active_node._slots, 'take', change_then_return)
        peer.listen()
        peer.send(image, 1)  # from the next turn on the worker asks the replacement
        assert (array(peer.of_frame('labels', 1)) != 255).all()
        peer.of_frame('frame_info', 1)
        changing.set()
        peer.send(image, 2)
        assert (array(peer.of_frame('labels', 2)) == 255).any()  # what is not certain


def test_clip_is_loaded_once_whatever_the_prompts(active_node, monkeypatch):
    loads, encoded = [], []
    monkeypatch.setattr(weights, 'load_frozen', lambda *args: loads.append(args))
    encode = TextTower._encode

    def count(tower, tokens, ends):
        encoded.append(len(tokens))
        return encode(tower, tokens, ends)

    monkeypatch.setattr(TextTower, '_encode', count)
    with Peer() as peer:
        for words in (['dog', 'cat'], ['cat', 'cow'], ['dog', 'cow', 'cat']):
            assert peer.set(prompts=words)[0].successful
        assert not peer.set(prompts=['cat', 'cat'])[0].successful
    assert not loads
    assert sum(encoded) == 240


def test_templates_of_a_file(active_node, tmp_path):
    path = tmp_path / 'yard.json'
    path.write_text(json.dumps({'templates': {'dog': ['one {}.']}}))
    with Peer() as peer:
        assert peer.set(prompts=['dog', 'cat'])[0].successful
        assert peer.set(templates=str(path))[0].successful
        found = active_node._active.vocabulary
        assert found.templates == str(path)
        expected = active_node._pipeline.segmenter.encode(['one dog.'], None, 'none').embeddings
        torch.testing.assert_close(found.embeddings[:1], expected)
        path.unlink()  # what was read stays in use, and other changes go on
        assert peer.set(gamma=0.31)[0].successful
        result = peer.set(prompts=['cow', 'cat'])[0]
        assert not result.successful
        assert f"templates '{path}' cannot be used" in result.reason
        assert peer.set(templates='simple')[0].successful
        assert peer.set(prompts=['cow', 'cat'])[0].successful


def test_nothing_is_downloaded_while_active(active_node):
    """Whatever Python would open to the network; DDS has sockets of its own, made in C++."""
    opened = []
    watching = threading.Event()

    def watch(event, arguments):
        if watching.is_set() and event in (
            'socket.connect',
            'socket.getaddrinfo',
            'urllib.Request',
        ):
            opened.append((event, arguments))
            raise OSError('there is no network (injected)')

    sys.addaudithook(watch)  # stays until Python ends; without `watching` it does nothing
    image = golden('image_160x208_plain')['image']
    with Peer() as peer:
        peer.listen()
        watching.set()
        try:
            assert peer.set(prompts=['a word never met', 'cat|feline'])[0].successful
            assert peer.set(templates='simple')[0].successful
            peer.send(image, 1)
            peer.of_frame('labels', 1)
            assert not opened
            with pytest.raises(OSError, match='injected'):  # the watch is awake
                socket.create_connection(('127.0.0.1', 9))
        finally:
            watching.clear()


def test_a_model_that_fails_on_a_frame_does_not_end_the_node(active_node, monkeypatch):
    """The failure is injected: no input makes this model fail."""
    segmenter = active_node._pipeline.segmenter
    segment = segmenter.segment_patches
    failing = threading.Event()

    def fail(*args):
        if failing.is_set():
            raise RuntimeError('CUDA out of memory (injected)')
        return segment(*args)

    monkeypatch.setattr(segmenter, 'segment_patches', fail)
    image = golden('image_160x208_plain')['image']
    with Peer() as peer:
        peer.listen()
        peer.connect()
        failing.set()
        peer.send(image, 1)
        peer.until(lambda: active_node._slots.count('camera').rejected == 1)
        failing.clear()
        peer.send(image, 2)
        info = peer.of_frame('frame_info', 2)
        assert info.frames_rejected == 1
        assert not [m for m in peer.messages('labels') if m.header.stamp.sec == 1]


def test_an_output_that_fails_does_not_end_the_worker(active_node, monkeypatch):
    """The failure is injected, into the drawing of the overlay."""

    def fail(*args):
        raise RuntimeError('no such font (injected)')

    monkeypatch.setattr(process, 'draw_overlay', fail)
    image = golden('image_160x208_plain')['image']
    with Peer() as peer:
        peer.listen()
        peer.connect()
        listener = peer.node.create_subscription(
            Image, '/clip_dinoiser/camera/overlay', lambda m: peer._keep('overlay', m), 1
        )
        overlay = active_node._pipeline.publishers['camera']._publishers['overlay']
        peer.until(lambda: overlay.get_subscription_count() == 1)
        peer.send(image, 1)
        peer.until(lambda: active_node._slots.count('camera').rejected == 1)
        peer.of_frame('labels', 1)  # what came before the failure went out
        peer.node.destroy_subscription(listener)
        peer.until(lambda: overlay.get_subscription_count() == 0)
        peer.send(image, 2)
        assert peer.of_frame('frame_info', 2).frames_rejected == 1


@pytest.mark.long
def test_cleanup_gives_the_model_back(active_node):
    """At once, not when Python happens to look for cycles of references."""
    model = weakref.ref(active_node._pipeline.segmenter)
    gc.disable()
    try:
        with Peer() as peer:
            peer.listen()
            peer.send(golden('image_160x208_plain')['image'], 1)
            peer.of_frame('frame_info', 1)
            assert peer.change_state('deactivate')
            assert model() is not None
            assert peer.change_state('cleanup')
        assert model() is None
    finally:
        gc.enable()


def test_a_message_reaches_the_model_without_a_copy(active_node, monkeypatch):
    """rgb8 without padding is a view of the message."""
    seen = []
    segmenter = active_node._pipeline.segmenter
    segment = segmenter.segment_patches
    monkeypatch.setattr(
        segmenter,
        'segment_patches',
        lambda images, *args: seen.extend(images) or segment(images, *args),
    )
    with Peer() as peer:
        peer.listen()
        peer.send(golden('image_160x208_plain')['image'], 1)
        peer.of_frame('labels', 1)
    assert not seen[0].flags.owndata
    assert seen[0].dtype == np.uint8
