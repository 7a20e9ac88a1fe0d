# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The managed node: life cycle, parameters, subscriptions."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.memory import free_memory
from clip_dinoiser_ros.core.nvidia import unused_gpu
from clip_dinoiser_ros.core.prompt_advice import advice
from clip_dinoiser_ros.core.vocabulary import Vocabulary, parse_prompts
from clip_dinoiser_ros.core.weights import default_gamma, description
from clip_dinoiser_ros.frames.class_ids import ClassIds
from clip_dinoiser_ros.frames.depth_images import is_compressed
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.process import Processor
from clip_dinoiser_ros.frames.settings import Active, Settings
from clip_dinoiser_ros.node import parameters
from clip_dinoiser_ros.node.clock import ClockWatch
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.diagnostics import MODEL, Diagnostics, gpu_memory
from clip_dinoiser_ros.node.encoding import Encoding, encode, missing
from clip_dinoiser_ros.node.frames import FrameSlots
from clip_dinoiser_ros.node.guard import Watchdog, end_process, end_within
from clip_dinoiser_ros.node.health import Health, Level, Status
from clip_dinoiser_ros.node.kept_state import KeptState
from clip_dinoiser_ros.node.parameter_services import ParameterServicesNode, reason
from clip_dinoiser_ros.node.parameters import CameraTopics, Configuration
from clip_dinoiser_ros.node.publishers import CameraPublishers
from clip_dinoiser_ros.node.rclpy_internals import (
    given_parameters,
    refuse_unavailable_transitions,
)
from clip_dinoiser_ros.node.services import Services
from clip_dinoiser_ros.node.sources import Sources
from clip_dinoiser_ros.node.start_ids import fixed_ids, start_ids
from clip_dinoiser_ros.node.state_file import VOCABULARY_PARAMETERS
from clip_dinoiser_ros.node.transforms import Transforms, listen
from clip_dinoiser_ros.node.worker import Limits, Worker

STOP_TIMEOUT_S = 60.0  # longer than any frame takes, on any machine
END_TIMEOUT_S = 5.0  # limit for the last diagnostics
DEPTH_QUEUE = 5  # depth images that DDS keeps while another callback runs

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


@dataclass
class _Pipeline:
    """What exists while the node is configured."""

    configuration: Configuration
    segmenter: Segmenter
    publishers: dict[str, CameraPublishers]


class SegmentationNode(ParameterServicesNode):
    """Segments camera images by the prompts in its parameters.

    The thread of the executor stores frames and answers services. A worker thread segments while
    the node is active. Between frames, a third thread encodes new prompts, and a fourth does the
    work of `Services`. All changes of
    parameters reach the worker as one frozen `Active`.

    Attributes:
        kept: The state that is kept from run to run.
    """

    # a node whose parameters cannot be declared must also be destroyed
    _encoding: Encoding | None = None
    kept: KeptState | None = None

    def __init__(self) -> None:
        super().__init__('clip_dinoiser')
        parameters.declare_parameters(self)
        self.kept = KeptState(
            self.get_parameter('state_file').value,
            self.get_fully_qualified_name(),
            self.get_logger(),
        )
        self._ids = ClassIds(self.kept.before.ids)
        self._version = self.kept.before.version  # of the newest vocabulary
        self._active: Active | None = None
        self._pending: tuple[Settings, Active, ClassIds] | None = None
        self._encoded: tuple[tuple[object, ...], Vocabulary] | None = None
        self._last_change: Future | None = None  # of prompts; done when they are in use or refused
        self._settings: Settings | None = None
        self._pipeline: _Pipeline | None = None
        self._slots: FrameSlots | None = None
        self._worker: Worker | None = None
        self._subscriptions_of_cameras: list[Subscription] = []
        self._transforms: Transforms | None = None
        self._health = Health((), lambda: 0.0)
        self._sources = Sources(self)
        self._questions: Services | None = None
        if self.get_parameter('services').value:
            self._questions = Services(self, self._end)
        self._failure = ''  # why the last transition failed
        self._clock_watch = ClockWatch(self)
        self._diagnostics = Diagnostics(self, self._statuses)
        self._diagnostics.start(self.get_parameter('diagnostics_period').value)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._use_parameters)
        refuse_unavailable_transitions(self)
        self._gamma_is_given = 'gamma' in given_parameters(self)
        self._take_defaults_of_model()
        self._begin_run()

    # life cycle

    def _begin_run(self) -> None:
        """Restore the prompts that were set during a run that failed."""
        values = {name: self.get_parameter(name).value for name in VOCABULARY_PARAMETERS}
        given = {
            n: v if isinstance(v, str) else [*filter(None, v or [])] for n, v in values.items()
        }
        restored = self.kept.begin(given)
        if restored is None:
            return
        kinds = {str: Parameter.Type.STRING, list: Parameter.Type.STRING_ARRAY}
        results = self.set_parameters(
            [Parameter(name, kinds[type(value)], value) for name, value in restored.items()]
        )
        refused = [result.reason for result in results if not result.successful]
        changed = [f'{name} {value}' for name, value in restored.items() if value != given[name]]
        self.get_logger().warning(
            'the last run did not end cleanly; its runtime parameters are set again: '
            f'{", ".join(changed)}' + '; refused: ' * bool(refused) + '; '.join(refused)
        )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, encode the prompts, warm the device up, create the publishers."""
        publishers: dict[str, CameraPublishers] = {}
        try:
            self._warn_of(parameters.unknown_parameters(self))
            self._take_defaults_of_model()
            configuration = parameters.read_configuration(self)
            settings = parameters.read_settings(self, [c.name for c in configuration.cameras])
            weights = configuration.model, configuration.pretrained, configuration.heads
            self.get_logger().info(f'loading {description(*weights)}')
            segmenter = Segmenter.load(
                *weights,
                configuration.device,
                configuration.precision,
                configuration.short_side,
                engine=configuration.engine,
                quantized=configuration.quantized or None,
            )
            segmenter.shorten_features(configuration.feature_pca, configuration.feature_dim)
            self._ids = self._ids_of(configuration, settings)
            active, ids = self._encode(settings, segmenter)
            segmenter.warm_up(active.vocabulary, settings.gamma, settings.delta)
            for camera in configuration.cameras:
                publishers[camera.name] = CameraPublishers(self, camera)
        except Exception as error:  # rclpy would drop an exception silently
            self._fail(f'cannot configure: {reason(error)}')
            for created in publishers.values():
                created.destroy()
            return FAILURE
        self._use(settings, active, ids)
        self._pipeline = _Pipeline(configuration, segmenter, publishers)
        self._failure = ''
        self._diagnostics.start(configuration.diagnostics_period)
        self._tell_of_unused_gpu(configuration.device, segmenter.device)
        self.get_logger().info(
            f'configured on {segmenter.device} in {segmenter.precision} by {segmenter.engine}; '
            f'cameras: {", ".join(publishers)}; classes: {", ".join(settings.prompts)}'
        )
        return SUCCESS

    def _warn_of(self, unknown: str) -> None:
        if unknown:
            self.get_logger().warning(f'unknown parameters, ignored: {unknown}')

    def _take_defaults_of_model(self) -> None:
        """Set the parameters that belong to the model, unless they were given."""
        if self._gamma_is_given:
            return
        gamma = default_gamma(self.get_parameter('model').value)
        if gamma != self.get_parameter('gamma').value:
            self.set_parameters([Parameter('gamma', value=gamma)])
            self._gamma_is_given = False

    def _tell_of_unused_gpu(self, asked: str, used: torch.device) -> None:
        why = unused_gpu() if (asked, used.type) == ('auto', 'cpu') else ''
        if why:
            self.get_logger().warning(
                f'the model runs on the CPU although there is an NVIDIA GPU: {why}; '
                'set device to cpu to silence this warning'
            )

    def _ids_of(self, configuration: Configuration, settings: Settings) -> ClassIds:
        fixed, largest = configuration.class_ids, configuration.max_class_id
        if self._version > self.kept.before.version:  # while the node runs, no name loses its id
            return fixed_ids(self._ids, fixed, largest, self.get_logger())
        names = [prompt.name for prompt in parse_prompts(settings.prompts)]
        return start_ids(self._ids, fixed, largest, names, self.get_logger())

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start the worker."""
        result = super().on_activate(state)  # the publishers, before anything is published
        try:
            self._start()
        except Exception as error:
            self._fail(f'cannot activate: {reason(error)}')
            self.stop(STOP_TIMEOUT_S)
            super().on_deactivate(state)
            return FAILURE
        self._failure = ''
        self._warn_of(parameters.unknown_parameters(self, of_qos=True))
        topics = ', '.join(s.topic_name for s in self._subscriptions_of_cameras)
        self.get_logger().info(f'active; waiting for images on {topics}')
        return result

    def _start(self) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        cameras = pipeline.configuration.cameras
        names = [camera.name for camera in cameras]
        target = pipeline.configuration.target_frame
        self._transforms = listen(self, target) if target else None
        self._slots = FrameSlots(names)
        self._health = Health(names, self._clock_watch.elapsed_s)
        configuration = pipeline.configuration
        limits = Limits(
            configuration.max_pixels, configuration.max_bytes, configuration.inference_timeout_s
        )
        self._worker = Worker(
            processor=Processor(pipeline.segmenter, self.get_logger()),
            slots=self._slots,
            publishers=pipeline.publishers,
            active=self._current,
            health=self._health,
            logger=self.get_logger(),
            ends=self._end,
            limits=limits,
            seen=self._questions and self._questions.seen,
        )
        depths = [publishers.clouds.depth for publishers in pipeline.publishers.values()]
        self._clock_watch.resets = [
            self._health.reset,
            self._worker.reset,
            *(depth.clear for depth in depths),
        ]
        self._worker.start()
        if self._questions is not None:
            turn = self._slots.between_frames
            self._questions.start(
                pipeline.segmenter,
                self._current,
                limits,
                turn,
                {name: publishers.clouds for name, publishers in pipeline.publishers.items()},
                self._transforms,
            )
        for camera in cameras:
            message_type = CompressedImage if camera.transport == 'compressed' else Image
            put = partial(self._receive, camera.name)
            subscription = self._subscribe(message_type, camera.image_topic, put, 1)
            keys = f'{camera.name}.image_topic and {camera.name}.transport'
            self._sources.add(camera.name, keys, subscription)
            self._subscribe_for_clouds(camera, pipeline.publishers[camera.name].clouds)

    def _subscribe_for_clouds(self, camera: CameraTopics, clouds: Clouds) -> None:
        slots = self._slots
        assert slots is not None

        def put_depth(depth: Image | CompressedImage) -> None:
            if clouds.put_depth(depth):
                slots.wake()  # a cloud may be ready

        clouds.clear()
        clouds.transforms = self._transforms
        if camera.camera_info_topic:
            info = self._subscribe(CameraInfo, camera.camera_info_topic, clouds.put_info, 1)
            self._sources.add(camera.name, f'{camera.name}.camera_info_topic', info)
        if camera.depth_topic:
            topics = camera.depth_topic, self.resolve_topic_name(camera.depth_topic)
            message_type = CompressedImage if any(map(is_compressed, topics)) else Image
            depth = self._subscribe(message_type, camera.depth_topic, put_depth, DEPTH_QUEUE)
            self._sources.add(camera.name, f'{camera.name}.depth_topic', depth)

    def _subscribe(
        self, message_type: type, topic: str, callback: Callable[[Any], None], depth: int
    ) -> Subscription:
        subscription = self.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            # a group of its own: groups keep traces of destroyed subscriptions
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=partial(self._name_mismatch, topic)
            ),
            qos_overriding_options=parameters.qos_overrides(),
        )
        self._subscriptions_of_cameras.append(subscription)
        return subscription

    def _receive(self, camera: str, message: Any) -> None:
        """Store an Image or CompressedImage."""
        assert self._slots is not None
        self._health.cameras[camera].arrived(1e-9 * stamp_ns(message.header))
        self._slots.put(camera, message)

    def _name_mismatch(self, topic: str, event: QoSRequestedIncompatibleQoSInfo) -> None:
        """Warn that a publisher cannot deliver, and say what to do."""
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        topic = self.resolve_topic_name(topic)
        self.get_logger().warning(
            f'{topic}: the QoS policy {policy} of a publisher does not match the subscription, so '
            f'no messages arrive; set qos_overrides.{topic}.subscription.{policy}'
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and end the worker after its frame."""
        if not self.stop(STOP_TIMEOUT_S):
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything, from any state."""
        if not self.stop(STOP_TIMEOUT_S):  # the worker still uses what would be released
            return TransitionCallbackReturn.ERROR
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the process if the worker still runs: no state allows a model that hangs."""
        if self._worker is not None:
            self._end(f'the model did not return {STOP_TIMEOUT_S:g} s after it was told to stop')
        else:
            self._release()
        return super().on_error(state)

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribe and stop segmenting; return whether the worker ended in time."""
        self._sources.clear()
        for subscription in self._subscriptions_of_cameras:
            self.destroy_subscription(subscription)
        self._subscriptions_of_cameras = []
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._clock_watch.resets = []
        if self._slots is not None:
            self._slots.close()  # so that no service waits for its turn
        if self._questions is not None and not self._questions.stop(timeout_s):
            return False
        stopped = self._worker is None or self._worker.stop(timeout_s)
        if stopped:
            self._worker = self._slots = None
        return stopped

    def destroy_node(self) -> None:
        """Destroy the node; stop encoding prompts.

        Afterwards another node may use its state file.
        """
        self._stop_encoding()
        super().destroy_node()
        if self.kept is not None:
            self.kept.close()

    def _release(self) -> None:
        self._stop_encoding()
        if self._pipeline is not None:
            for publishers in self._pipeline.publishers.values():
                publishers.destroy()
        self._pipeline = self._active = self._settings = None
        gc.collect()  # the model is in reference cycles, which Python may keep for minutes
        free_memory()

    # diagnostics

    def _fail(self, reason: str) -> None:
        self.get_logger().fatal(reason)
        self._failure = reason

    def _end(self, reason: str) -> None:
        """End the process, which can no longer segment; called from any thread."""
        end_within(END_TIMEOUT_S)  # the rest may hang as well
        self._failure = reason
        try:
            self._diagnostics.publish_last()
        finally:
            end_process(self.get_logger(), reason)

    def _statuses(self) -> dict[str, Status]:
        """Return the status of the model and, while the node is active, of its cameras."""
        statuses = {MODEL: self._model_status()}
        settings, slots = self._settings, self._slots
        if settings is not None and slots is not None:
            rates = settings.max_rates()
            for camera, (images, *others) in self._sources.of_cameras().items():
                statuses[camera] = self._health.cameras[camera].status(
                    self._clock_watch.now_s(),
                    slots.count(camera),
                    images,
                    settings.stale_after,
                    rates.get(camera, 0.0),
                    others,
                )
        return statuses

    def _model_status(self) -> Status:
        state = 'unconfigured' if self._pipeline is None else 'inactive'
        if self._worker is not None:
            state = 'active'
        level = Level.OK if state == 'active' else Level.WARN
        told = self._failure
        if told:
            level = Level.ERROR
        values = {
            'state': state,
            'unclean_ends': str(self.kept.unclean_ends),
            **self._clock_watch.values(),
        }
        if self._pipeline is not None and self._active is not None:
            segmenter, configuration = self._pipeline.segmenter, self._pipeline.configuration
            values |= {
                'model': configuration.model,
                'device': str(segmenter.device),
                'precision': segmenter.precision,
                'engine': segmenter.engine,
                'vocabulary_version': str(self._active.version),
                'classes': str(len(self._active.settings.prompts)),
                'encoding_prompts': str(self._is_encoding()).lower(),
                **self._health.stages.values(),
                **gpu_memory(segmenter.device),
            }
        message = '; '.join(text for text in (state, told, self._clock_watch.news()) if text)
        return Status(level, message, values)

    # parameters

    def _current(self) -> Active:
        assert self._active is not None
        return self._active

    def _use(self, settings: Settings, active: Active, ids: ClassIds) -> None:
        if active.version != self._version:  # before an image uses its ids
            used = {name: getattr(settings, name) for name in VOCABULARY_PARAMETERS}
            self.kept.save(ids.known, active.version, used)
        before = self._settings
        self._settings, self._active, self._ids = settings, active, ids
        if before is None or (before.object_classes, self._version) != (
            settings.object_classes,
            active.version,
        ):
            self._warn_of_object_classes(active)
        self._version = active.version

    def _warn_of_object_classes(self, active: Active) -> None:
        names = active.vocabulary.names[: len(active.settings.prompts)]
        unknown = [name for name in active.settings.object_classes if name not in names]
        if unknown:
            self.get_logger().warning(
                f'object_classes has names that are not among the prompts: {", ".join(unknown)}; '
                f'available: {", ".join(names)}'
            )

    async def prepare(self, changes: list[Parameter]) -> None:
        """Encode new prompts while frames continue with the old ones."""
        if not any(change.name in VOCABULARY_PARAMETERS for change in changes):
            return
        # in the order of the requests
        last, self._last_change = self._last_change, Future()
        this = self._last_change
        try:
            if last is not None:
                await last
            await self._encode_ahead(changes)
        finally:
            this.set_result(None)

    async def _encode_ahead(self, changes: list[Parameter]) -> None:
        """Encode the prompts of a change; again if the model was replaced meanwhile."""
        while True:
            if self._settings is None or self._pipeline is None:
                return  # prompts are encoded at configure
            try:
                settings = parameters.changed_settings(self._settings, changes)
                known = not missing(self._pipeline.segmenter, settings)
            except Exception:
                return  # the check reports the error; rclpy reports wrong types before
            prompts = _prompts(settings)
            if known or prompts == _prompts(self._settings):
                return
            if self._encoded is not None and self._encoded[0] == prompts:
                return
            self._encoding = Encoding(
                self._pipeline.segmenter,
                settings,
                self._between_frames,
                Watchdog(self._pipeline.configuration.inference_timeout_s, self._end),
                self.executor,
            )
            vocabulary = await self._encoding.done  # keep no reference to the model meanwhile
            if vocabulary is not None:
                self._encoded = prompts, vocabulary

    def _between_frames(self) -> AbstractContextManager[None]:
        slots = self._slots
        return nullcontext() if slots is None else slots.between_frames()

    def _is_encoding(self) -> bool:
        return self._encoding is not None and not self._encoding.done.done()

    def _stop_encoding(self) -> None:
        if self._encoding is not None:
            self._encoding.cancel()
        self._encoding = self._encoded = None

    def _encode(self, settings: Settings, segmenter: Segmenter) -> tuple[Active, ClassIds]:
        """Encode the prompts of settings, unless they are encoded, and assign class ids."""
        negatives = settings.negative_prompts
        if self._encoded is not None and self._encoded[0] == _prompts(settings):
            vocabulary = self._encoded[1]
        else:
            vocabulary = encode(segmenter, settings)
        unknown = segmenter.unknown_words(vocabulary)
        if unknown:
            self.get_logger().warning(f'the demo model does not know: {", ".join(unknown)}')
        for warning in advice(vocabulary, len(settings.prompts)):
            self.get_logger().warning(warning)
        names = vocabulary.names[: len(settings.prompts)]
        ids = self._ids.with_names(names)
        table = ids.table(names, len(negatives))
        return Active(settings, vocabulary, table, self._version + 1, self.kept.run_id), ids

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """Accept or refuse a change; everything that takes time or can fail happens here."""
        self._pending = None
        try:
            if not all(change.name for change in changes):  # rclpy would treat it as declared
                raise ValueError('a parameter has no name; every parameter needs a name')
            settings = parameters.changed_settings(
                self._settings or parameters.default_settings(), changes
            )
            if self._settings is None or self._active is None or self._pipeline is None:
                return SetParametersResult(successful=True)  # the rest is done at configure
            active, ids = self._active, self._ids
            if _prompts(settings) != _prompts(self._settings):
                active, ids = self._encode(settings, self._pipeline.segmenter)
            else:
                active = replace(active, settings=settings)
        except Exception as error:  # an exception would end the executor
            return SetParametersResult(successful=False, reason=reason(error))
        self._pending = (settings, active, ids)
        return SetParametersResult(successful=True)

    def _use_parameters(self, changes: list[Parameter]) -> None:
        """Apply an accepted change, from the next frame on."""
        self._gamma_is_given |= any(change.name == 'gamma' for change in changes)
        late = [p.name for p in changes if parameters.is_read_at_configure(p.name)]
        if late and self._pipeline:
            self.get_logger().warning(f'{", ".join(late)} takes effect at the next configure')
        if self._pending is not None:
            self._use(*self._pending)
            self._pending = None
            if self._slots is not None:
                self._slots.wake()


def _prompts(settings: Settings) -> tuple[object, ...]:
    """Return the settings that determine the vocabulary."""
    return tuple(getattr(settings, name) for name in VOCABULARY_PARAMETERS)
