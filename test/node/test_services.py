# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions to the running node, over DDS."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from clip_dinoiser_ros.srv import Segment
from harness import NAME, STATELESS, Peer, array, numbered_frame
from sensor_msgs.msg import CompressedImage

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.node.jobs import MOST_WAITING
from clip_dinoiser_ros.node.segmentation_node import SegmentationNode
from clip_dinoiser_ros.node.services import SERVICES

PROMPTS = ['sky', 'grass', 'zebra']


def test_without_a_camera_an_image_gets_the_labels_of_the_node(
    node, image, golden_segmenter, golden_prompts
):
    with Peer() as peer:
        answer = peer.ask('segment', image=numbered_frame(image, 7))
    expected = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts))
    assert (answer.success, answer.message) == (True, '')
    assert answer.labels.header == answer.confidence.header == numbered_frame(image, 7).header
    np.testing.assert_array_equal(array(answer.labels), expected.labels)
    assert list(answer.names) == golden_prompts
    assert list(answer.ids) == list(range(len(golden_prompts)))
    assert answer.unlabelled_id == 255
    assert answer.detections.header == answer.labels.header
    found = {d.results[0].hypothesis.class_id for d in answer.detections.detections}
    assert found
    assert found <= set(golden_prompts) - {'background'}


def test_own_prompts_do_not_touch_those_of_the_node(peer, image, golden_segmenter):
    before = peer.get('prompts'), peer.messages('vocabulary')[-1].version
    answer = peer.ask(
        'segment',
        image=numbered_frame(image, 7),
        prompts=PROMPTS,
        min_confidence=0.9,
        min_object_size=1.0,
    )
    expected = golden_segmenter.segment(image, golden_segmenter.encode(PROMPTS, None))
    labels = np.where(expected.confidence >= 0.9, expected.labels, 255)
    assert (labels == 255).any()
    np.testing.assert_array_equal(array(answer.labels), labels)
    assert (list(answer.names), list(answer.ids)) == (PROMPTS, [0, 1, 2])
    assert not answer.detections.detections
    peer.send(image, 8)
    assert peer.of_frame('frame_info', 8).vocabulary_version == before[1]
    assert peer.get('prompts') == before[0]


def test_a_jpeg_and_the_background_filter(peer, image, golden_segmenter):
    jpeg = compressed.encode_jpeg(image)
    prompts = ['background', *PROMPTS]
    answer = peer.ask(
        'segment',
        compressed_image=CompressedImage(format='jpeg', data=bytes(jpeg)),
        prompts=prompts,
        background='background',
    )
    decoded = compressed.decode(bytes(jpeg))
    expected = golden_segmenter.segment(decoded, golden_segmenter.encode(prompts))
    np.testing.assert_array_equal(array(answer.labels), expected.labels)


def test_texts_become_unit_vectors(peer, golden_segmenter):
    answer = peer.ask('encode_text', texts=['sky', 'zebra|striped horse'])
    assert (answer.success, answer.message) == (True, '')
    vectors = np.reshape(answer.vectors, (2, answer.dimension))
    expected = golden_segmenter.encode(['sky', 'zebra|striped horse'], None).embeddings
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert answer.model_digest == golden_segmenter.text_digest
    assert len(bytes.fromhex(answer.model_digest)) == 32
    plain = peer.ask('encode_text', texts=['sky', 'zebra|striped horse'], templates='none')
    assert plain.success
    assert np.abs(np.array(plain.vectors) - answer.vectors).max() > 1e-3


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'image': None}, 'neither image nor compressed_image has data'),
        ({'compressed_image': CompressedImage(data=b'x')}, 'both image and compressed_image'),
        (
            {'image': None, 'compressed_image': CompressedImage(format='jpeg', data=b'not a jpeg')},
            'JPEG',
        ),
        ({'prompts': ['']}, "prompt 0 ('') has an empty name"),
        ({'prompts': ['word ' * 80]}, 'more than 75 tokens'),
        ({'prompts': PROMPTS, 'background': 'wall'}, "background is 'wall'; it must be one of sky"),
        ({'background': 'sky'}, "background is 'sky' and prompts is empty"),
        ({'min_confidence': 1.5}, 'min_confidence is 1.5; allowed is 0 to 1, or a negative number'),
        ({'min_object_size': float('nan')}, 'min_object_size is nan'),
    ],
)
def test_a_bad_image_request_is_refused(peer, image, changes, reason):
    fields = {'image': numbered_frame(image, 7), **changes}
    answer = peer.ask(
        'segment', **{name: value for name, value in fields.items() if value is not None}
    )
    assert not answer.success
    assert reason in answer.message
    assert not answer.labels.data
    assert not answer.names


@pytest.mark.parametrize(
    ('texts', 'templates', 'reason'),
    [
        ([], '', 'prompts is empty'),
        (['sky', 'sky'], '', "'sky' is given twice"),
        (['sky'], '/etc/passwd', "templates is '/etc/passwd'; allowed: imagenet, simple, none"),
    ],
)
def test_bad_texts_are_refused(peer, texts, templates, reason):
    answer = peer.ask('encode_text', texts=texts, templates=templates)
    assert (answer.success, answer.dimension, len(answer.vectors)) == (False, 0, 0)
    assert reason in answer.message


def test_a_storm_of_requests_is_answered_or_refused(node, peer, image):
    """A client that ends while it waits does not matter, and frames go on."""
    with Peer() as gone:
        client = gone._client(Segment, f'{NAME}/segment')
        for _ in range(4):
            client.call_async(Segment.Request(image=numbered_frame(image, 1)))
    client = peer._client(Segment, f'{NAME}/segment')
    peer.connect()
    futures = []
    for index in range(10 * MOST_WAITING):
        request = Segment.Request(image=numbered_frame(image, index), prompts=[f'thing {index}'])
        futures.append(client.call_async(request))
        peer.send(image, 100 + index)  # frames come best effort
    # DDS keeps the last ten that the executor has not taken
    peer.until(lambda: all(future.done() for future in futures[-8:]))
    answers = [future.result() for future in futures if future.done()]
    refused = [answer.message for answer in answers if not answer.success]
    assert set(refused) <= {
        f'{MOST_WAITING} requests wait already; ask again when some are answered'
    }
    peer.until(lambda: peer.stamps('frame_info'))
    assert peer.state() == 'active'
    while not peer.ask('segment', image=numbered_frame(image, 7)).success:
        pass  # refused until those that wait are answered


def test_the_examples_of_the_page(peer, image, tmp_path):
    page = (Path(__file__).parents[2] / 'docs/services.md').read_text()
    lines = re.findall(r'^ros2 service call (\S+) (\S+) "(.*)"$', page, re.MULTILINE)
    assert [line[:2] for line in lines] == [
        (f'{NAME}/encode_text', 'clip_dinoiser_ros/srv/EncodeText'),
        (f'{NAME}/find', 'clip_dinoiser_ros/srv/Find'),
    ]
    assert peer.ask('encode_text', **yaml.safe_load(lines[0][2])).success
    peer.send(image, 50)
    peer.of_frame('frame_info', 50)
    assert peer.ask('find', **{**yaml.safe_load(lines[1][2]), 'max_age_s': 1e6}).success
    segmenting, finding = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    (tmp_path / 'photo.jpg').write_bytes(compressed.encode_jpeg(image))
    finding = finding.replace("text='blue", "max_age_s=1e6, text='blue")
    for program, said in (
        (segmenting, r'^(floor|wall|red ball) \d'),
        (finding, r'^(absent|found)'),
    ):
        ran = subprocess.run(
            [sys.executable, '-c', program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert re.search(said, ran.stdout)


def test_the_table_of_the_interface_names_them():
    page = (Path(__file__).parents[2] / 'docs/ros_interface.md').read_text()
    rows = re.findall(r'^\| `~/(\w+)` \| clip_dinoiser_ros/(\w+) \|', page, re.MULTILINE)
    assert dict(rows) == {name: kind.__name__ for name, kind in SERVICES.items()}


def test_services_can_be_switched_off():
    rclpy.init(args=['--ros-args', *STATELESS, '-p', 'services:=false'])
    node = SegmentationNode()
    try:
        names = {service.service_name for service in node.services}
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    assert f'{NAME}/set_parameters' in names
    assert not names & {f'{NAME}/{name}' for name in SERVICES}


def test_an_inactive_node_refuses(peer, image):
    assert peer.change_state('deactivate')
    try:
        refused = peer.ask('segment', image=numbered_frame(image, 7))
        assert (refused.success, 'not active' in refused.message) == (False, True)
        assert not peer.ask('encode_text', texts=['sky']).success
    finally:
        assert peer.change_state('activate')
    assert peer.ask('encode_text', texts=['sky']).success
