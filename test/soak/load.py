# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a node has to live with: good and damaged frames, changes, consumers that come and go.

Each function is one kind of it, for a thread of its own; it ends when `diary.stop` is set and
raises when the node does what it should not.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from clip_dinoiser_ros.srv import Find
from harness import BEST_EFFORT, NAME, Peer, every_vocabulary, holdings
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from witness import Witness

from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.class_slugs import class_slug
from clip_dinoiser_ros.world.classes import CLASSES, SYNONYMS
from clip_dinoiser_ros.world.drives import demo_drive

CAMERAS = ('front', 'rear')
FRONT, REAR = '/front/image_raw', '/rear/image_raw/compressed'
DEPTH, INFO = '/front/depth', '/front/camera_info'
MAX_PIXELS = 640 * 480  # of SIZES; a JPEG with a bit turned in its height can have 33248 rows
PARAMETERS = {
    'model': 'demo',
    'prompts': ['background', 'person', 'blue barrel', 'yellow box', 'road'],
    'gamma': 0.7,
    'short_side': 224,
    'cameras': list(CAMERAS),
    'front.depth_topic': DEPTH,
    'front.camera_info_topic': INFO,
    'rear.transport': 'compressed',
    'max_pixels': MAX_PIXELS,
    **{key: value for camera in CAMERAS for key, value in every_vocabulary(camera).items()},
}
SIZES = ((240, 320), (240, 426), (256, 256), (320, 240), (480, 640))  # height, width
RATE_HZ = 15.0  # of each camera
DAMAGED = 0.3  # part of the frames
CAMERA_LIVES_S = 4.0
CHANGE_S = 0.15
ACTIVE_S = 8.0  # between two times of deactivate and activate; every third time also of cleanup
CONSUMER_STAYS_S = 1.5
ASK_S = 0.05
REFUSALS = ('the node ', 'no frame of ', '16 requests wait already')  # of good requests
OUTPUTS = {
    'overlay': Image,
    'overlay/compressed': CompressedImage,
    'points': PointCloud2,
    'class_confidences': Image,
    'camera_info': CameraInfo,
    f'classes/{class_slug("person")}/mask': Image,
    f'classes/{class_slug("road")}/confidence': Image,
}


class Diary:
    """What was done, and when: for the report and the drawing.

    Attributes:
        stop: Set when it is enough.
        counts: How often, by kind.
        moments: Seconds since the start and kind, of what is seldom.
        at_rest: What the node held after each cleanup, when no load hides what is left behind.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.counts: Counter[str] = Counter()
        self.moments: list[tuple[float, str]] = []
        self.at_rest: list[dict[str, float]] = []
        self._start_s = time.monotonic()
        self._lock = threading.Lock()

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start_s

    def note(self, kind: str, seldom: bool = False) -> None:
        """Take note of something that was done."""
        with self._lock:
            self.counts[kind] += 1
            if seldom:
                self.moments.append((round(self.now_s(), 3), kind))


class Listener(Peer):
    """A peer that tells a witness everything of the cameras it listens to."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def _keep(self, topic: str, message: Any) -> None:
        _, _, camera, output = topic.split('/')
        if output == 'vocabulary':
            allowed = [*message.ids, message.unlabelled_id]
            self._witness.announce(camera, message.version, allowed, _nanoseconds(message))
            super()._keep(topic, message)
        elif output == 'frame_info':
            self._witness.info(camera, _nanoseconds(message), message.vocabulary_version)
        elif output == 'labels':
            dtype = np.uint16 if message.encoding == 'mono16' else np.uint8
            values = np.unique(np.frombuffer(message.data, dtype))
            self._witness.labels(camera, _nanoseconds(message), values.tolist())


class Passer(Peer):
    """A peer that reads and keeps nothing."""

    def _keep(self, topic: str, message: Any) -> None:
        pass


def _nanoseconds(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def header() -> Header:
    """Return a header of now."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id='lens')


def pictures() -> list[np.ndarray]:
    """Draw scenes of the generated world, in all sizes: uint8 (H, W, 3) RGB."""
    scenes = [scene.image for scene in demo_drive(4.0, 1.0, 320, 240)]
    return [cv2.resize(scene, size[::-1]) for scene in scenes for size in SIZES]


def send_frames(diary: Diary, seed: int) -> None:
    """Be two cameras, one of them with depth, that send damage too and start again and again."""
    chance = random.Random(seed)
    scenes = pictures()
    with Passer() as peer:
        while not diary.stop.is_set():
            publishers = [
                peer.node.create_publisher(kind, topic, 5)
                for kind, topic in ((Image, FRONT), (CompressedImage, REAR), (Image, DEPTH))
            ]
            info = peer.node.create_publisher(CameraInfo, INFO, 5)
            ends_s = time.monotonic() + CAMERA_LIVES_S
            while time.monotonic() < ends_s and not diary.stop.wait(1 / RATE_HZ):
                picture, stamped = chance.choice(scenes), header()
                front, rear, depth = publishers
                damaged = chance.random() < DAMAGED
                front.publish(raw(picture, stamped, chance if damaged else None))
                rear.publish(jpeg(picture, stamped, chance if damaged else None))
                height, width = picture.shape[:2]
                info.publish(camera_info(height, width, stamped))
                metres = np.full((height, width), 2.0, np.float32)
                depth.publish(images.to_message(metres, '32FC1', stamped, Image))
                diary.note('damaged frames' if damaged else 'good frames')
            for publisher in (*publishers, info):
                peer.node.destroy_publisher(publisher)
            diary.note('camera started again', seldom=True)


def raw(picture: np.ndarray, stamped: Header, chance: random.Random | None = None) -> Image:
    """Make a raw image, damaged in one of the usual ways when there is a chance."""
    message = images.to_message(picture, 'rgb8', stamped, Image)
    if chance is None:
        return message
    damage = chance.choice(('size zero', 'short', 'encoding', 'step', 'huge'))
    if damage == 'size zero':
        return Image(header=stamped, encoding='rgb8')
    if damage == 'short':
        message.data = message.data[: chance.randrange(len(message.data))]
    elif damage == 'encoding':
        message.encoding = 'sepia9'
    elif damage == 'step':
        message.step = 5
    else:
        message.height = 2**31
    return message


def jpeg(
    picture: np.ndarray, stamped: Header, chance: random.Random | None = None
) -> CompressedImage:
    """Make a JPEG, damaged in one of the usual ways when there is a chance."""
    content = bytearray(compressed.encode_jpeg(picture).tobytes())
    if chance is not None:
        damage = chance.choice(('empty', 'cut', 'turned', 'text'))
        if damage == 'empty':
            content.clear()
        elif damage == 'cut':
            del content[chance.randrange(len(content)) :]
        elif damage == 'turned':  # some of these a decoder takes
            for _ in range(20):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            content[:] = b'no picture at all'
    message = CompressedImage(header=stamped, format='rgb8; jpeg compressed bgr8')
    message.data.frombytes(bytes(content))
    return message


def camera_info(height: int, width: int, stamped: Header) -> CameraInfo:
    """Make the CameraInfo of a pinhole camera whose centre is that of the image."""
    k = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    p = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        header=stamped, height=height, width=width, k=k.ravel(), r=np.eye(3).ravel(), p=p.ravel()
    )


def words(chance: random.Random) -> list[str]:
    """Choose prompts, synonyms among them now and then."""
    chosen = chance.sample(CLASSES, chance.randrange(1, 13))
    chosen = ['|'.join((word, *SYNONYMS.get(word, ()))) for word in chosen]
    return [*chosen, 'background'] if chance.random() < 0.7 else chosen


CHANGES: dict[str, Callable[[random.Random], Any]] = {
    'gamma': lambda chance: chance.uniform(0.0, 0.9),
    'min_confidence': lambda chance: chance.choice((0.0, 0.3)),
    'confidence_encoding': lambda chance: chance.choice(('mono8', '32FC1')),
    'output_scale': lambda chance: chance.choice((0.3, 0.5, 1.0)),
    'temporal_smoothing': lambda chance: chance.choice((0.0, 0.5)),
    'edges': lambda chance: chance.choice(('off', 'fast')),
    'negative_prompts': lambda chance: chance.choice(([''], ['black thing', 'door frame'])),
    'cloud': lambda chance: chance.choice(('organised', 'compact')),
    'front.region': lambda chance: [0.0, 0.0, 1.0, chance.uniform(0.3, 1.0)],
    'rear.max_rate': lambda chance: chance.choice((0.0, 5.0)),
}


def change(diary: Diary, witness: Witness, pid: int, seed: int) -> None:
    """Change prompts and other parameters, and now and then the state; `pid` is the node's."""
    chance = random.Random(seed)
    with Passer() as peer:
        state_s, restarts = time.monotonic(), 0
        while not diary.stop.wait(CHANGE_S):
            _change_parameter(peer, diary, chance)
            if time.monotonic() > state_s + ACTIVE_S:
                _restart(peer, diary, witness, pid, cleanup=restarts % 3 == 0)
                restarts += 1
                state_s = time.monotonic()


def _change_parameter(peer: Peer, diary: Diary, chance: random.Random) -> None:
    kind = chance.random()
    if kind < 0.1:
        (result,) = peer.set(prompts=['dog', 'dog'])
        if result.successful:
            raise RuntimeError('doubled prompts were accepted')
        diary.note('changes refused')
        return
    name = 'prompts' if kind < 0.7 else chance.choice(list(CHANGES))
    value = words(chance) if name == 'prompts' else CHANGES[name](chance)
    (result,) = peer.set(**{name: value})
    if not result.successful:
        raise RuntimeError(f'{name} = {value!r} was refused: {result.reason}')
    diary.note('prompts changed' if name == 'prompts' else 'other parameters changed')


def _restart(peer: Peer, diary: Diary, witness: Witness, pid: int, cleanup: bool) -> None:
    """Go down and up again, while frames come."""
    steps = ['deactivate', 'cleanup', 'configure', 'activate']
    for step in steps if cleanup else (steps[0], steps[-1]):
        if not peer.change_state(step):
            raise RuntimeError(f'{step} did not succeed')
        if step == 'deactivate':
            stopped_ns = time.time_ns()  # what was announced until then came by the old topics
        elif step == 'cleanup':
            rest_mib = holdings(pid)['rss_mib']
            diary.at_rest.append({'time_s': diary.now_s(), 'rest_mib': rest_mib})
    diary.note('cleanup and configure' if cleanup else 'deactivate and activate', seldom=True)
    if cleanup:
        # the topics are new ones: who has not found them yet would miss what is announced meanwhile
        peer.until(lambda: all(witness.newest_ns(c) > stopped_ns for c in CAMERAS))


def ask(diary: Diary, seed: int) -> None:
    """Ask the services, for what can be answered and what cannot, and die now and then."""
    chance = random.Random(seed)
    scenes = pictures()
    with Passer() as peer:
        while not diary.stop.wait(ASK_S):
            if chance.random() < 0.05:
                _ask_and_die()
                diary.note('clients that died while they waited')
                continue
            service = chance.choice(list(ASKED))
            bad = chance.random() < 0.3
            answer = peer.ask(service, **ASKED[service](chance, scenes, bad))
            if bad and answer.success:
                raise RuntimeError(f'a bad request to {service} was answered')
            if not (bad or answer.success or answer.message.startswith(REFUSALS)):
                raise RuntimeError(f'{service}: {answer.message}')
            diary.note('requests answered' if answer.success else 'requests refused')


def _ask_and_die() -> None:
    with Passer() as gone:
        client = gone._client(Find, f'{NAME}/find')
        client.call_async(Find.Request(text='person', max_age_s=0.0))


def _find_fields(chance: random.Random, scenes: list[np.ndarray], bad: bool) -> dict[str, Any]:
    damage = (
        {'min_confidence': float('nan')},
        {'timeout_s': -1.0},
        {'camera': 'nobody'},
        {'text': '\x00'},
        {'target_frame': 'nowhere'},
    )
    fields = {'text': '|'.join(words(chance)[:1]), 'contrast': ['door', 'window'], 'timeout_s': 1.0}
    return fields | (chance.choice(damage) if bad else {})


def _segment_fields(chance: random.Random, scenes: list[np.ndarray], bad: bool) -> dict[str, Any]:
    picture = chance.choice(scenes)
    if bad:
        return {'image': raw(picture, header(), chance)}
    prompts = chance.choice(([], words(chance)))
    return {'compressed_image': jpeg(picture, header()), 'prompts': prompts}


def _text_fields(chance: random.Random, scenes: list[np.ndarray], bad: bool) -> dict[str, Any]:
    return {'texts': ['a', 'a'] if bad else words(chance)}


ASKED = {'find': _find_fields, 'segment': _segment_fields, 'encode_text': _text_fields}


def come_and_go(diary: Diary, seed: int) -> None:
    """Subscribe to some outputs for a while, as a process of its own or as one that stays."""
    chance = random.Random(seed)
    with Passer() as resident:
        while not diary.stop.is_set():
            if chance.random() < 0.5:
                with Passer() as visitor:
                    _listen_for_a_while(visitor, diary, chance)
            else:
                _listen_for_a_while(resident, diary, chance)


def _listen_for_a_while(peer: Peer, diary: Diary, chance: random.Random) -> None:
    heard = [
        peer.node.create_subscription(
            OUTPUTS[output],
            f'{NAME}/{chance.choice(CAMERAS)}/{output}',
            lambda _: None,
            BEST_EFFORT,
        )
        for output in chance.sample(list(OUTPUTS), 3)
    ]
    diary.stop.wait(CONSUMER_STAYS_S)
    for subscription in heard:
        peer.node.destroy_subscription(subscription)
    diary.note('consumers that came and went')
