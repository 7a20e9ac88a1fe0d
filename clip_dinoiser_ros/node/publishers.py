# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The outputs of one camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import (
    BoundingBox2D,
    BoundingBox3D,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionClass,
)
from visualization_msgs.msg import Marker, MarkerArray, MeshFile

from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.class_ids import published_classes
from clip_dinoiser_ros.frames.dense_features import dense_features
from clip_dinoiser_ros.frames.detections import detection_array
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.located import LOCATED_OUTPUTS
from clip_dinoiser_ros.frames.outputs import (
    LIVE_OUTPUTS,
    OUTPUTS,
    MessageTypes,
    Output,
    announcement,
)
from clip_dinoiser_ros.frames.process import (
    FrameOutputs,
    OutputTooLargeError,
    Pixels,
    cloud_source,
    object_source,
)
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.msg import DenseFeatures, FrameInfo
from clip_dinoiser_ros.msg import Vocabulary as VocabularyMessage
from clip_dinoiser_ros.node.class_publishers import ClassPublishers
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.parameters import CameraTopics, qos_overrides

_TYPES = MessageTypes(LabelInfo, VisionClass, VocabularyMessage)
_CLASSES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
    'clip_dinoiser_ros/msg/DenseFeatures': DenseFeatures,
    'clip_dinoiser_ros/msg/FrameInfo': FrameInfo,
    'sensor_msgs/msg/PointCloud2': PointCloud2,
    'sensor_msgs/msg/CameraInfo': CameraInfo,
    'vision_msgs/msg/Detection2DArray': Detection2DArray,
    'vision_msgs/msg/Detection3DArray': Detection3DArray,
    'visualization_msgs/msg/MarkerArray': MarkerArray,
    'vision_msgs/msg/LabelInfo': LabelInfo,
    'clip_dinoiser_ros/msg/Vocabulary': VocabularyMessage,
}
DETECTION_TYPES: Mapping[str, type] = {
    f'{package}/msg/{kind.__name__}': kind
    for package, kinds in {
        'builtin_interfaces': (Duration,),
        'geometry_msgs': (Point, Pose, PoseWithCovariance, Quaternion, Vector3),
        'sensor_msgs': (CompressedImage,),
        'std_msgs': (ColorRGBA,),
        'vision_msgs': (
            BoundingBox2D,
            BoundingBox3D,
            Detection2D,
            Detection2DArray,
            Detection3D,
            Detection3DArray,
            ObjectHypothesis,
            ObjectHypothesisWithPose,
            Point2D,
            Pose2D,
        ),
        'visualization_msgs': (Marker, MarkerArray, MeshFile),
    }.items()
    for kind in kinds
}


class CameraPublishers:
    """Publishes the outputs of one camera under ~/NAME/.

    Args:
        node: The node the publishers belong to.
        camera: Its name and topics.

    Attributes:
        clouds: Takes the camera's depth images and CameraInfo.
    """

    def __init__(self, node: LifecycleNode, camera: CameraTopics) -> None:
        self._node = node
        self._camera = camera.name
        self.clouds = Clouds(camera, lambda text: node.get_logger().warning(text))
        self._publishers: dict[str, Any] = {}
        self._classes = ClassPublishers(node, camera.name)
        # made only for subscribers; None: cannot be made for this frame
        self._lazy: dict[str, Callable[[FrameOutputs], Any]] = {
            'class_confidences': self._class_confidences,
            'detections': lambda frame: detection_array(frame, DETECTION_TYPES),
            'instances': lambda frame: images.to_message(*frame.instances, frame.header, Image),
            'features': lambda frame: dense_features(frame, DenseFeatures),
            'points': self._add_to_clouds,
            'camera_info': self._camera_info,
        }
        self._refused = 0  # frames whose class confidences would be too large
        try:
            for name, output in {**OUTPUTS, **LIVE_OUTPUTS}.items():
                if not output.needs or getattr(camera, output.needs):
                    self._publishers[name] = self._create(f'~/{camera.name}/{name}', output)
        except BaseException:
            self.destroy()
            raise

    def _create(self, topic: str, output: Output) -> Any:
        # a profile for each publisher: overrides are written into it
        profile = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if output.latched
            else DurabilityPolicy.VOLATILE,
        )
        return self._node.create_lifecycle_publisher(
            _CLASSES[output.type_name],
            topic,
            profile,
            qos_overriding_options=qos_overrides(),
        )

    def destroy(self) -> None:
        """Destroy the topics."""
        self._classes.destroy()
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def announce(self, active: Active) -> None:
        """Announce the classes of the label images that follow, after creating their topics."""
        self._classes.use(active.vocabulary.names[: published_classes(active.table)])
        header = Header(stamp=self._node.get_clock().now().to_msg())
        label_info, message = announcement(
            _TYPES,
            header,
            active.vocabulary,
            active.table,
            active.version,
            active.settings.min_confidence,
            active.run_id,
        )
        self._publishers['label_info'].publish(label_info)
        self._publishers['vocabulary'].publish(message)

    def publish(self, frame: FrameOutputs) -> None:
        """Publish labels and confidence of one frame, and the outputs that have subscribers."""
        self._publish_image('labels', frame.labels, frame.header)
        self._publish_image('confidence', frame.confidence, frame.header)
        self._publish_overlay(frame)
        for name, make in self._lazy.items():
            if self._is_heard(name):
                message = make(frame)
                if message is not None:
                    self._publishers[name].publish(message)
        if any(map(self._is_heard, LOCATED_OUTPUTS)):
            self.clouds.add_objects(object_source(frame))
        self._classes.publish(frame)
        self.publish_clouds()

    def _publish_image(self, name: str, pixels: Pixels, header: Any) -> None:
        self._publishers[name].publish(images.to_message(*pixels, header, Image))

    def _is_heard(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    def wants_features(self) -> bool:
        """Return whether the features of the next frame have subscribers."""
        return self._is_heard('features')

    def expect(self, header: Any) -> None:
        """Keep the depth image of a frame that is about to be segmented."""
        self.clouds.depth.expect(stamp_ns(header))

    def publish_clouds(self) -> None:
        """Publish clouds and located objects whose depth arrived after their labels."""
        if not self._is_heard('points'):
            self.clouds.drop()
        for cloud in self.clouds.ready():
            self._publishers['points'].publish(cloud)
        heard = [name for name in LOCATED_OUTPUTS if self._is_heard(name)]
        if not heard:
            self.clouds.drop_objects()
        for located in self.clouds.ready_objects():
            for name in heard:
                self._publishers[name].publish(LOCATED_OUTPUTS[name](located, DETECTION_TYPES))

    def _add_to_clouds(self, frame: FrameOutputs) -> None:
        self.clouds.add(cloud_source(frame))

    def _camera_info(self, frame: FrameOutputs) -> CameraInfo | None:
        return self.clouds.camera_info(frame.header, frame.size, frame.image_size)

    def _publish_overlay(self, frame: FrameOutputs) -> None:
        """Draw the overlay once and publish it raw and compressed, each if it has subscribers."""
        if self._is_heard('overlay'):
            self._publish_image('overlay', (frame.overlay, 'rgb8'), frame.header)
        if self._is_heard('overlay/compressed'):
            jpeg = CompressedImage(header=frame.header, format=compressed.JPEG_FORMAT)
            jpeg.data.frombytes(compressed.encode_jpeg(frame.overlay))
            self._publishers['overlay/compressed'].publish(jpeg)

    def _class_confidences(self, frame: FrameOutputs) -> Image | None:
        try:
            return images.to_message(*frame.class_confidences(), frame.header, Image)
        except OutputTooLargeError as error:
            self._refused += 1
            self._node.get_logger().error(
                f'{self._camera}: class_confidences not published ({self._refused} so far): '
                f'{error}',
                throttle_duration_sec=1.0,
            )
            return None

    def publish_frame_info(self, frame_info: FrameInfo) -> None:
        """Publish the frame info."""
        self._publishers['frame_info'].publish(frame_info)
