# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's parameters: declared with description and range, read into frozen dataclasses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from clip_dinoiser_ros.core import dinoiser
from clip_dinoiser_ros.core.edges import STEPS
from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.core.templates import ALLOWED as TEMPLATES
from clip_dinoiser_ros.core.templates import find_sentences
from clip_dinoiser_ros.core.vocabulary import join_prompts, parse_prompts
from clip_dinoiser_ros.frames.class_ids import MAX_CLASS_ID
from clip_dinoiser_ros.frames.compressed import MAX_BYTES
from clip_dinoiser_ros.frames.fixed_ids import parse_fixed_ids
from clip_dinoiser_ros.frames.images import MAX_PIXELS
from clip_dinoiser_ros.frames.outputs import CONFIDENCE_ENCODINGS
from clip_dinoiser_ros.frames.region import EVERYTHING, RegionError, check_region
from clip_dinoiser_ros.frames.settings import CLOUDS, DEFAULT_PROMPTS, CameraSettings, Settings
from clip_dinoiser_ros.node.rclpy_internals import given_parameters

_QOS = 'qos_overrides.'
TRANSPORTS = ('raw', 'compressed')


class ParameterError(ValueError):
    """A parameter value that cannot be used; says what was given and what is allowed."""


@dataclass(frozen=True)
class CameraTopics:
    """One camera.

    Attributes:
        name: Part of the topics of its outputs.
        image_topic: Topic of its images.
        transport: 'raw' (sensor_msgs/Image) or 'compressed' (CompressedImage).
        depth_topic, camera_info_topic: Topics of depth images and CameraInfo; empty: none.
    """

    name: str
    image_topic: str
    transport: str
    depth_topic: str = ''
    camera_info_topic: str = ''


@dataclass(frozen=True)
class Configuration:
    """Parameters that are read when the node is configured."""

    cameras: tuple[CameraTopics, ...]
    model: str
    pretrained: str
    heads: str
    device: str
    precision: str
    engine: str
    quantized: str
    short_side: int | None
    max_pixels: int
    max_bytes: int
    inference_timeout_s: float
    diagnostics_period: float
    class_ids: Mapping[str, int]
    max_class_id: int
    target_frame: str
    feature_dim: int
    feature_pca: str


@dataclass(frozen=True)
class _Spec:
    default: Any
    description: str
    allowed: str = ''
    range: tuple[float, float] | None = None
    runtime: bool = False
    read_only: bool = False


def _runtime(default: Any, description: str, **kwargs: Any) -> _Spec:
    return _Spec(default, description, runtime=True, **kwargs)


SPECS: Mapping[str, _Spec] = {
    'prompts': _runtime(
        list(DEFAULT_PROMPTS), 'Classes to look for, one prompt each; a|b|c: with synonyms b and c'
    ),
    'negative_prompts': _runtime(
        # an empty list has no type, in rclpy and in YAML
        [''],
        "Classes that compete with the prompts and are published as unlabelled; ['']: none",
    ),
    'background': _runtime(
        'background', 'Class given to pixels that do not look like an object; empty: filter off'
    ),
    'templates': _runtime(
        'imagenet',
        'Text templates for the prompts: 80 (imagenet), 7 (simple), none, or those of a file',
        allowed=TEMPLATES,
    ),
    'gamma': _runtime(
        dinoiser.GAMMA,
        'Affinities below this are left out of the pooling; default: the value of the model',
        range=(0.0, 0.99),
    ),
    'delta': _runtime(
        dinoiser.DELTA, 'Patches with a lower probability may become background', range=(0.0, 1.0)
    ),
    'min_confidence': _runtime(
        0.0, 'Pixels with a lower probability are published as unlabelled', range=(0.0, 1.0)
    ),
    'confidence_encoding': _runtime(
        'mono8',
        'Encoding of the confidence map: mono8 (255 is certain) or 32FC1 (1.0 is certain)',
        allowed=', '.join(CONFIDENCE_ENCODINGS),
    ),
    'max_rate': _runtime(
        0.0,
        'Maximum frames per second of each camera; 0: no limit',
        range=(0.0, 1000.0),
    ),
    'output_scale': _runtime(
        1.0,
        'Size of labels, confidence, overlay and points as a fraction of the image size',
        range=(0.01, 1.0),
    ),
    'cloud': _runtime(
        'organised',
        'Points of a cloud: one for every pixel, or only for pixels with depth',
        allowed=', '.join(CLOUDS),
    ),
    'sync_tolerance_ms': _runtime(
        100.0,
        'Maximum difference between the stamps of an image and its depth, milliseconds',
        range=(0.0, 10000.0),
    ),
    'temporal_smoothing': _runtime(
        0.0, 'Weight of earlier frames in the probabilities; 0: none', range=(0.0, 0.99)
    ),
    'edges': _runtime(
        'off',
        'Sharpen labels along the edges of the image: fast or fine',
        allowed=', '.join(STEPS),
    ),
    'min_object_size': _runtime(
        MIN_OBJECT_SIZE,
        'Smallest object as a fraction of the image; smaller areas are no objects, and are filled '
        'if an object encloses them',
        range=(0.0, 1.0),
    ),
    'object_classes': _runtime(
        [''], "Names of the classes that can be objects; ['']: all but the background"
    ),
    'track': _runtime(False, 'Objects keep their id from frame to frame, by overlap'),
    'stale_after': _runtime(
        5.0, 'Seconds without a frame after which a camera is stale', range=(0.1, 3600.0)
    ),
    'cameras': _Spec(['camera'], 'Names of the cameras; outputs are published under ~/NAME/'),
    'model': _Spec(
        'ViT-B-16',
        'OpenCLIP architecture, path of an OpenCLIP JSON config, or demo: a small model',
    ),
    'pretrained': _Spec('laion2b_s34b_b88k', 'OpenCLIP tag (downloaded once) or weights file'),
    'heads': _Spec(
        'authors',
        "File with the two heads' weights, authors (those of the paper, downloaded), or the URL of "
        'a mirror of these',
    ),
    'device': _Spec(
        'auto', 'Where the model runs', allowed='auto, cpu, cuda, cuda:N, intel-gpu, intel-npu'
    ),
    'precision': _Spec(
        'auto',
        'Number format of the model; auto: bf16 or fp16 if the hardware supports it',
        allowed='auto, fp32, bf16, fp16, int8',
    ),
    'engine': _Spec(
        'auto',
        'Runtime of the image tower; auto: openvino on Intel devices, for int8, and for bf16 on a '
        'CPU; else torch',
        allowed='auto, torch, openvino',
    ),
    'quantized': _Spec('', 'Folder that clip-dinoiser quantize wrote, for precision int8'),
    'short_side': _Spec(
        448,
        'Images are resized to this short side in pixels; 0: no resizing',
        range=(0, 4096),
    ),
    'max_pixels': _Spec(
        MAX_PIXELS, 'Images with more pixels are refused before they are decoded', range=(1, 2**30)
    ),
    'max_bytes': _Spec(
        MAX_BYTES,
        'JPEG and PNG with more bytes are refused before they are decoded',
        range=(1, 2**30),
    ),
    'inference_timeout_s': _Spec(
        30.0,
        'The process ends if the model does not return within this many seconds; 0: never',
        range=(0.0, 3600.0),
    ),
    'diagnostics_period': _Spec(
        1.0, 'Seconds between messages on /diagnostics; 0: none', range=(0.0, 60.0)
    ),
    'class_ids': _Spec(
        [''],
        "Fixed class ids, NAME:ID each, such as person:1; ['']: none",
    ),
    'max_class_id': _Spec(
        MAX_CLASS_ID,
        'Largest class id; prompts that need a larger one are refused; 254: labels stay mono8',
        range=(0, MAX_CLASS_ID),
    ),
    'target_frame': _Spec(
        '',
        'Frame of detections_3d and markers, through tf2; empty: frame of the image',
    ),
    'feature_dim': _Spec(
        0,
        'Numbers in a vector of features and encode_text, 64 to 512; below those of the model it '
        'needs feature_pca; 0: as many as the model has',
        range=(0, 512),
    ),
    'feature_pca': _Spec(
        '', 'File that clip-dinoiser adapt --pca wrote, for feature_dim; empty: none'
    ),
    'state_file': _Spec(
        'auto',
        'File that keeps class ids across restarts, runtime prompts across failures; auto: in '
        '$ROS_HOME (~/.ros), named after the node; empty: none',
        read_only=True,
    ),
    'services': _Spec(
        True, 'Serve encode_text, find and segment to other nodes while active', read_only=True
    ),
    'autostart': _Spec(True, 'Configure and activate at start, without a lifecycle manager'),
}

# of each camera, as NAME.key; {camera} is replaced by the name
CAMERA_SPECS: Mapping[str, _Spec] = {
    'image_topic': _Spec('{camera}/image_raw', 'Topic of the images of {camera}'),
    'transport': _Spec(
        'raw',
        'Transport of the images of {camera}; compressed: JPEG or PNG, on image_topic/compressed',
        allowed=', '.join(TRANSPORTS),
    ),
    'depth_topic': _Spec(
        '', 'Topic of depth images aligned to the images of {camera}, for its points; empty: none'
    ),
    'camera_info_topic': _Spec(
        '', 'Topic of the CameraInfo of the images of {camera}; empty: none'
    ),
    'max_rate': _runtime(
        0.0, 'Maximum frames per second of {camera}; 0: the value of max_rate', range=(0.0, 1000.0)
    ),
    'region': _runtime(
        list(EVERYTHING),
        'Part of the images of {camera} to label: x0, y0, x1, y1 of a rectangle, or x, y of 3 or '
        'more corners, as fractions of width and height; the rest is unlabelled',
        allowed='0.0 to 1.0 each',
    ),
}


def qos_overrides() -> QoSOverridingOptions:
    """Return which policies of a topic parameters may override: rclpy's, and the durability."""
    kinds = QoSPolicyKind
    return QoSOverridingOptions((kinds.HISTORY, kinds.DEPTH, kinds.RELIABILITY, kinds.DURABILITY))


def declare_parameters(node: Node) -> None:
    """Declare all parameters except those of single cameras."""
    _declare(node, SPECS)


def unknown_parameters(node: Node, of_qos: bool = False) -> str:
    """Name the parameters that were given to the node and that it does not have, and near ones.

    Args:
        node: Its `cameras` are declared.
        of_qos: Look at the QoS overrides, which are declared with their topics; else at the others.

    Returns:
        The names; empty: there are none.
    """
    cameras = node.get_parameter('cameras').value
    known = {*SPECS, 'use_sim_time', *(f'{c}.{key}' for c in cameras for key in CAMERA_SPECS)}
    if of_qos:
        known = {_QOS + name for name in node.get_parameters_by_prefix(_QOS.rstrip('.'))}
    told = []
    for name in given_parameters(node):
        if name.startswith(_QOS) != of_qos or name in known or node.has_parameter(name):
            continue
        camera, _, key = name.rpartition('.')
        near = difflib.get_close_matches(name, sorted(known), n=1)
        if camera and camera not in cameras and key in CAMERA_SPECS:
            told.append(f'{name} (no camera {camera!r} in cameras)')
        else:
            told.append(f'{name} (did you mean {near[0]}?)' if near else name)
    return ', '.join(told)


def is_read_at_configure(name: str) -> bool:
    """Return whether a parameter takes effect only at the next configure."""
    spec = _spec_of(name)
    return spec is not None and not spec.runtime


def _declare(node: Node, specs: Mapping[str, _Spec]) -> None:
    for name, spec in specs.items():
        descriptor = ParameterDescriptor(
            description=spec.description,
            additional_constraints=spec.allowed,
            read_only=spec.read_only,
        )
        if spec.range is not None:
            low, high = spec.range
            if isinstance(spec.default, int):
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=1)
                ]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high, step=0.0)
                ]
        # of any type at first, so that a file may have 1 for 1.0 and 'person' for ['person']
        node.declare_parameter(name, spec.default, ParameterDescriptor(dynamic_typing=True))
        descriptor.type = Parameter(name, value=spec.default).type_.value
        given = coerced(node.get_parameter(name), spec)
        node.set_descriptor(name, descriptor, given.get_parameter_value())


def coerced(given: Parameter, spec: _Spec | None = None) -> Parameter:
    """Convert a parameter to its declared type if the meaning is clear.

    Converted are integers for floats, one string for a list of one, and empty lists, which have no
    type. A parameter that is not one of the node's, or that is to be unset, is returned unchanged.

    Args:
        given: From a file or a service.
        spec: Of the parameter; None: that of its name.

    Raises:
        ParameterError: A value of another type.
    """
    spec = spec or _spec_of(given.name)
    if spec is None:
        return given
    value, wanted = given.value, Parameter(given.name, value=spec.default).type_
    if wanted == Parameter.Type.DOUBLE and given.type_ == Parameter.Type.INTEGER:
        value = float(value)
    elif wanted == Parameter.Type.DOUBLE_ARRAY and given.type_ == Parameter.Type.INTEGER_ARRAY:
        value = [float(number) for number in value]
    elif wanted == Parameter.Type.STRING_ARRAY and given.type_ == Parameter.Type.STRING:
        value = [value]
    elif isinstance(spec.default, list) and _is_empty_list(given):
        value = []
    elif given.type_ not in (wanted, Parameter.Type.NOT_SET):
        value = given.value if isinstance(given.value, (bool, int, float, str)) else [*given.value]
        raise ParameterError(
            f'{given.name} is {value!r} of type {given.type_.name}; must be of type {wanted.name}'
        )
    else:
        return given
    return Parameter(given.name, wanted, value)


def _is_empty_list(given: Parameter) -> bool:
    """Whether it is a list without items; one in a parameter file leaves the parameter unset."""
    return given.type_ == Parameter.Type.NOT_SET or (
        not isinstance(given.value, (bool, int, float, str)) and len(given.value) == 0
    )


def _spec_of(name: str) -> _Spec | None:
    """Return the declaration of a parameter; None: it is not one of the node."""
    camera, _, key = name.rpartition('.')
    return CAMERA_SPECS.get(key) if camera else SPECS.get(name)


def read_settings(node: Node, cameras: Iterable[str]) -> Settings:
    """Read and check the runtime parameters; those of cameras must be declared.

    Raises:
        ParameterError: A value that cannot be used.
        PromptError: A prompt that cannot be used.
        TemplateError: Templates that cannot be used.
    """
    names = [name for name, spec in SPECS.items() if spec.runtime]
    names += [f'{c}.{key}' for c in cameras for key, spec in CAMERA_SPECS.items() if spec.runtime]
    return changed_settings(default_settings(), [node.get_parameter(name) for name in names])


def default_settings() -> Settings:
    """Return the defaults of the runtime parameters."""
    return _settings({name: spec.default for name, spec in SPECS.items() if spec.runtime})


def changed_settings(current: Settings, parameters: list[Parameter]) -> Settings:
    """Apply the runtime parameters among `parameters`; raises as `read_settings`."""
    values: dict[str, Any] = {}
    of_cameras = dict(current.of_cameras)
    for parameter in parameters:
        camera, _, key = parameter.name.rpartition('.')
        if not camera and key in SPECS and SPECS[key].runtime:
            values[key] = parameter.value
        elif camera and key in CAMERA_SPECS and CAMERA_SPECS[key].runtime:
            own = of_cameras.get(camera, CameraSettings())
            of_cameras[camera] = replace(own, **{key: _frozen(parameter.value)})
    changed = _settings({**values, 'of_cameras': of_cameras}, current)
    if changed.templates != current.templates:  # else a lost file would stop every change
        find_sentences(changed.templates)
    return current if changed == current else _check_settings(changed)


def _frozen(value: Any) -> Any:
    """Return the value of a parameter; lists and arrays become tuples."""
    return value if isinstance(value, (str, int, float)) else tuple(value)


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of a parameter; a single empty text means none."""
    texts = tuple(value)
    return () if texts == ('',) else texts


def _settings(values: Mapping[str, Any], base: Settings | None = None) -> Settings:
    values = dict(values)
    if 'prompts' in values:
        values['prompts'] = _frozen(values['prompts'])
    for name in ('negative_prompts', 'object_classes'):
        if name in values:
            values[name] = _texts(values[name])
    return Settings(**values) if base is None else replace(base, **values)


def _check_settings(settings: Settings) -> Settings:
    parse_prompts(settings.prompts)
    # each alone: combinations are checked when all parameters are known
    join_prompts((), settings.negative_prompts)
    _check_choice('confidence_encoding', settings.confidence_encoding, CONFIDENCE_ENCODINGS)
    _check_choice('cloud', settings.cloud, CLOUDS)
    _check_choice('edges', settings.edges, tuple(STEPS))
    for name, own in settings.of_cameras.items():
        try:
            check_region(own.region)
        except RegionError as error:
            raise ParameterError(f'{name}.region is {error}') from error
    return settings


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ParameterError(f'{name} is {value!r}; allowed: {", ".join(allowed)}')


def read_configuration(node: Node) -> Configuration:
    """Declare the parameters of the cameras and read the configuration.

    Raises:
        ParameterError: A value that cannot be used.
    """
    values = {name: node.get_parameter(name).value for name in SPECS}
    names = values['cameras']
    if not names:
        raise ParameterError('cameras is empty; give at least one name')
    for name in names:
        if not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name) or '__' in name or name.endswith('_'):
            raise ParameterError(
                f'camera name {name!r} cannot be part of a topic name; use letters, digits and '
                'single underscores inside, starting with a letter'
            )
    if len(set(names)) < len(names):
        raise ParameterError(f'cameras is {list(names)}; names must be unique')
    return Configuration(
        cameras=tuple(_read_camera(node, name) for name in names),
        model=values['model'],
        pretrained=values['pretrained'],
        heads=values['heads'],
        device=values['device'],
        precision=values['precision'],
        engine=values['engine'],
        quantized=values['quantized'],
        short_side=values['short_side'] or None,
        max_pixels=values['max_pixels'],
        max_bytes=values['max_bytes'],
        inference_timeout_s=values['inference_timeout_s'],
        diagnostics_period=values['diagnostics_period'],
        class_ids=parse_fixed_ids(_texts(values['class_ids']), values['max_class_id']),
        max_class_id=values['max_class_id'],
        target_frame=values['target_frame'],
        feature_dim=values['feature_dim'],
        feature_pca=values['feature_pca'],
    )


def _read_camera(node: Node, name: str) -> CameraTopics:
    specs = {
        f'{name}.{key}': replace(spec, **_of_camera(spec, name))
        for key, spec in CAMERA_SPECS.items()
        if not node.has_parameter(f'{name}.{key}')
    }
    _declare(node, specs)
    transport = node.get_parameter(f'{name}.transport').value
    _check_choice(f'{name}.transport', transport, TRANSPORTS)
    topics = {
        key: _read_topic(node, f'{name}.{key}', optional=key != 'image_topic')
        for key in ('image_topic', 'depth_topic', 'camera_info_topic')
    }
    if topics['depth_topic'] and not topics['camera_info_topic']:
        raise ParameterError(
            f'{name}.depth_topic is {topics["depth_topic"]!r} and {name}.camera_info_topic is '
            'empty; points need both'
        )
    if transport == 'compressed' and not topics['image_topic'].endswith('/compressed'):
        # as image_transport names it, below the topic that a remapping leads to
        topics['image_topic'] = node.resolve_topic_name(topics['image_topic']) + '/compressed'
    return CameraTopics(name=name, transport=transport, **topics)


def _of_camera(spec: _Spec, name: str) -> dict[str, Any]:
    """Return the default and the description of a parameter of a camera."""
    default = spec.default
    if isinstance(default, str):
        default = default.format(camera=name)
    return {'default': default, 'description': spec.description.format(camera=name)}


def _read_topic(node: Node, key: str, optional: bool = False) -> str:
    """Read a parameter that names a topic; an optional one may be empty."""
    topic: str = node.get_parameter(key).value
    if optional and not topic:
        return topic
    try:
        node.resolve_topic_name(topic)
    except RuntimeError as error:
        reason = str(error).split(', at ')[0]  # without the source line of rcl
        raise ParameterError(f'{key} is {topic!r}: {reason}') from error
    return topic
