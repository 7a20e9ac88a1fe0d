# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A camera with depth for the tests: topics, messages, and how to publish them."""

import numpy as np
from builtin_interfaces.msg import Time
from harness import RELIABLE
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.intrinsics import Intrinsics

TOPICS = {
    'camera.depth_topic': '/camera/depth/image_rect',
    'camera.camera_info_topic': '/camera/camera_info',
}
# so that nothing is lost on a busy machine; best effort is the default
RELIABLE_INPUTS = {
    f'qos_overrides.{topic}.subscription.reliability': 'reliable'
    for topic in ('/camera/image_raw', *TOPICS.values())
}
INTRINSICS = Intrinsics(208, 160, 190.0, 185.0, 101.5, 83.0)  # of the golden image 160x208


def header(stamp_ms, frame_id='lens'):
    """A header of that many milliseconds."""
    stamp = Time(sec=stamp_ms // 1000, nanosec=stamp_ms % 1000 * 10**6)
    return Header(stamp=stamp, frame_id=frame_id)


class DepthCamera:
    """Publishes depth and CameraInfo beside the images of a peer."""

    def __init__(self, peer):
        self._peer = peer
        depth, info = TOPICS.values()
        self.depth = peer.node.create_publisher(Image, depth, RELIABLE)
        self.info = peer.node.create_publisher(CameraInfo, info, RELIABLE)
        peer.until(lambda: self.depth.get_subscription_count() == 1)
        peer.until(lambda: self.info.get_subscription_count() == 1)

    def send_info(self):
        k = INTRINSICS.matrix()
        p = np.hstack([k, np.zeros((3, 1))])
        size = {'height': INTRINSICS.height, 'width': INTRINSICS.width}
        self.info.publish(CameraInfo(**size, k=k.ravel(), r=np.eye(3).ravel(), p=p.ravel()))

    def send_depth(self, index, metres, offset_ms=0):
        """Publish depth, everywhere the same, stamped so much after frame `index` of the peer."""
        stamp_ns = index * 10**9 + 123456789 + offset_ms * 10**6
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=f'lens_{index}')
        values = np.full((160, 208), metres, np.float32)
        self.depth.publish(images.to_message(values, '32FC1', header, Image))

    def connect(self, image, index):
        """Send image and depth of frames until a cloud comes; return the index after the last.

        The node subscribes best effort: what is sent before it has found the publishers is lost.
        """
        for attempt in range(index, index + 60):
            self.send_info()
            self.send_depth(attempt, 1.0)
            self._peer.send(image, attempt)
            self._peer.of_frame('frame_info', attempt)
            try:
                self._peer.until(lambda: self._peer.messages('points'), timeout_s=1.0)
                return attempt + 1
            except AssertionError:
                continue
        raise AssertionError('no cloud comes')
