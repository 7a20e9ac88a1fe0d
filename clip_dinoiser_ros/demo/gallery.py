# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""One image of the outputs of the node: camera, labels, confidence, and points from the side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.frames.cloud import make_cloud
from clip_dinoiser_ros.frames.outputs import encode_confidence, shrink
from clip_dinoiser_ros.frames.overlay import colour, draw_overlay
from clip_dinoiser_ros.training.demo_model.files import GAMMA
from clip_dinoiser_ros.world.camera import Pose
from clip_dinoiser_ros.world.render import Scene

Image = npt.NDArray[np.uint8]
TILE = (300, 400)  # height, width
GAP, HEADING = 6, 26
INK, PAPER, GROUND = (30, 30, 30), (255, 255, 255), (38, 38, 38)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FRAME = 80  # of the drive: shows objects of many classes
LABEL_SHARE = 0.7  # of a point's colour; the rest is from the camera image, to show shapes
SPLAT = 3  # pixels that a point covers in either direction
_COARSE = np.minimum((np.arange(256) + 4) // 8 * 8, 255).astype(np.uint8)  # a third of the PNG
# viewpoint of the points, relative to the camera: metres back, left and up, radians down
BACK_M, LEFT_M, UP_M, DOWN = 1.5, 1.2, 2.2, 0.38


def draw_gallery(scene: Scene, prompts: Sequence[str], segmenter: Segmenter) -> Image:
    """Segment a generated scene and draw its outputs: uint8 (H, W, 3) RGB.

    Args:
        scene: With depth.
        prompts: Without a background class, which would be drawn black.
        segmenter: The model.
    """
    vocabulary = segmenter.encode(list(prompts), None)
    result = segmenter.segment(scene.image, vocabulary, GAMMA)
    names = vocabulary.names
    ids = list(range(len(names)))
    labels, confidence = result.labels, result.confidence
    small = shrink(scene.image, TILE)
    # the overlay is drawn at the size of the tile, so that the legend is readable
    overlay = draw_overlay(
        small,
        cv2.resize(labels, TILE[::-1], interpolation=cv2.INTER_NEAREST),
        names,
        ids,
        confidence=cv2.resize(confidence, TILE[::-1], interpolation=cv2.INTER_AREA),
    )
    certain = encode_confidence(confidence, 'mono8')
    tiles = {
        'camera': small,
        'labels, share and confidence of each class': overlay,
        'confidence: yellow is certain': cv2.applyColorMap(certain, cv2.COLORMAP_VIRIDIS)[
            ..., ::-1
        ],
        'points of a depth camera, coloured by label': draw_points(scene, labels, confidence),
    }
    drawn = [_tile(title, picture) for title, picture in tiles.items()]
    picture = np.vstack([np.hstack(drawn[:2]), np.hstack(drawn[2:])])
    return cv2.LUT(picture, _COARSE)


def draw_points(
    scene: Scene, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32]
) -> Image:
    """Draw the points of a scene as seen from behind, beside and above its camera.

    Args:
        scene: Depth and camera.
        labels: uint8 (H, W), class ids.
        confidence: float32 (H, W).
    """
    depth = np.where(np.isfinite(scene.depth), scene.depth, np.nan).astype(np.float32)
    cloud = make_cloud(scene.image, labels, confidence, depth, scene.intrinsics, compact=True)
    pose = scene.pose
    in_world = np.column_stack([cloud[axis] for axis in 'xyz']) @ pose.rotation() + pose.position()
    forward = np.array([np.cos(pose.yaw), np.sin(pose.yaw)])
    left = np.array([-forward[1], forward[0]])
    x, y = pose.position()[:2] - BACK_M * forward + LEFT_M * left
    aside = Pose(float(x), float(y), pose.z + UP_M, pose.yaw, DOWN)
    pixels, distance = aside.project(in_world, scene.intrinsics)
    return _splat(pixels, distance, _colours(cloud), labels.shape)


def _colours(cloud: npt.NDArray[np.void]) -> Image:
    """Mix the colour of each point's class with the camera's: uint8 (N, 3) RGB."""
    table = np.array([colour(class_id) for class_id in range(int(cloud['label'].max()) + 1)])
    packed = cloud['rgb'].view(np.uint32)
    rgb = np.column_stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255])
    mixed = LABEL_SHARE * table[cloud['label']] + (1 - LABEL_SHARE) * rgb
    return mixed.astype(np.uint8)


def _splat(
    pixels: npt.NDArray[np.float64],
    distance: npt.NDArray[np.float64],
    colours: Image,
    size: tuple[int, ...],
) -> Image:
    """Draw points as small squares, far ones first, so that near ones cover them."""
    height, width = size
    picture = np.full((height, width, 3), GROUND, np.uint8)
    left_top = np.floor(pixels).astype(np.int64)
    inside = (distance > 0.1) & (left_top >= 0).all(axis=1)
    inside &= (left_top[:, 0] < width - SPLAT) & (left_top[:, 1] < height - SPLAT)
    order = np.flatnonzero(inside)[np.argsort(-distance[inside], kind='stable')]
    u, v = left_top[order].T
    for down in range(SPLAT):
        for right in range(SPLAT):
            picture[v + down, u + right] = colours[order]
    return picture


def _tile(title: str, picture: Image) -> Image:
    """Add a title and a margin to an image."""
    height, width = TILE
    tile = np.full((HEADING + height + GAP, width + GAP, 3), PAPER, np.uint8)
    cv2.putText(tile, title, (GAP, HEADING - 8), FONT, 0.5, INK, 1, cv2.LINE_AA)
    tile[HEADING : HEADING + height, GAP:] = shrink(picture, TILE)
    return tile
