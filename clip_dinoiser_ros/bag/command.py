# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser bag`: a recording in, a recording with labels out."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.bag import camera_options
from clip_dinoiser_ros.bag.cameras import Camera, choose_cameras
from clip_dinoiser_ros.bag.drawings import Drawings, damage_lines
from clip_dinoiser_ros.bag.output_files import refuse_overlap
from clip_dinoiser_ros.bag.partial import PartialBag
from clip_dinoiser_ros.bag.progress import Bar
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.rerun_file import check_rerun
from clip_dinoiser_ros.bag.segmenting import EXTRA_OUTPUTS, SECOND, VERSION, BagSegmenter, Progress
from clip_dinoiser_ros.bag.table import check_table, write_table
from clip_dinoiser_ros.bag.windows import Selection, ahead, read_windows
from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.compressed import MAX_BYTES
from clip_dinoiser_ros.frames.images import MAX_PIXELS
from clip_dinoiser_ros.frames.located import LOCATED_OUTPUTS
from clip_dinoiser_ros.frames.outputs import CONFIDENCE_ENCODINGS, LIVE_OUTPUTS, OUTPUTS
from clip_dinoiser_ros.frames.process import Processor
from clip_dinoiser_ros.frames.settings import CLOUDS, Active, CameraSettings, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('input', type=Path, metavar='IN', help='bag folder, .mcap or .db3 file')
    parser.add_argument(
        'output',
        type=Path,
        metavar='OUT',
        help='NAME.mcap or NAME.db3: one file; any other name: a bag folder, in the format of IN',
    )
    group = add_segmenting_arguments(parser)
    group.add_argument(
        '--table',
        type=Path,
        metavar='OUT.csv',
        help='the objects of every frame, a row each; .csv, or .parquet where pyarrow is installed',
    )
    group.add_argument(
        '--video', type=Path, metavar='OUT.mp4', help='write overlay and legend as H.264'
    )
    group.add_argument(
        '--report', type=Path, metavar='OUT.html', help='write a self-contained page'
    )
    group.add_argument(
        '--rerun',
        type=Path,
        metavar='OUT.rrd',
        help='write images, labels, objects and points for the Rerun viewer (rerun-sdk)',
    )
    group.add_argument('--force', action='store_true', help='replace existing files')
    group.add_argument('--resume', action='store_true', help='continue an interrupted run')


def add_segmenting_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add all that decides what is written of a recording; return the group of the output."""
    arguments.add_prompt_arguments(parser)
    _add_selection(parser)
    group = parser.add_argument_group('output')
    group.add_argument(
        '--copy',
        nargs='*',
        metavar='TOPIC',
        help='also copy other topics: those named, or all that are not segmented',
    )
    group.add_argument('--overlay', action='store_true', help='the same as --outputs overlay')
    group.add_argument(
        '--outputs',
        nargs='+',
        default=[],
        choices=EXTRA_OUTPUTS,
        help='also write these outputs of the node; classes: mask and confidence of every class',
    )
    group.add_argument(
        '--object-classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help='classes of objects (all but the background)',
    )
    group.add_argument(
        '--min-object-size',
        type=float,
        default=MIN_OBJECT_SIZE,
        metavar='S',
        help='smallest object, as a fraction of the image, 0 to 1 (%(default)s)',
    )
    group.add_argument(
        '--track', action='store_true', help='objects keep their id from frame to frame'
    )
    group.add_argument(
        '--feature-dim',
        type=int,
        default=0,
        metavar='N',
        help='numbers in a vector of features, as feature_dim of the node (all of the model)',
    )
    group.add_argument(
        '--feature-pca', default='', metavar='FILE', help='file that adapt --pca wrote'
    )
    group.add_argument(
        '--confidence-encoding', default='mono8', choices=CONFIDENCE_ENCODINGS, help='%(default)s'
    )
    group.add_argument(
        '--output-scale',
        type=float,
        default=1.0,
        metavar='S',
        help='size of the outputs as a fraction of the image, 0.01 to 1 (%(default)s)',
    )
    _add_cloud(parser)
    arguments.add_model_arguments(parser)
    method = arguments.add_threshold_arguments(parser)
    method.add_argument(
        '--smoothing',
        '--temporal-smoothing',
        type=float,
        default=0.0,
        metavar='S',
        help='weight of earlier frames, as temporal_smoothing of the node, 0 to 0.99 (%(default)s)',
    )
    return group


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('input')
    group.add_argument(
        '--topic',
        action='append',
        default=[],
        metavar='T',
        help='image topic; repeatable (every camera in the bag)',
    )
    group.add_argument(
        '--name',
        action='append',
        default=[],
        metavar='TOPIC=NAME',
        help='name of a camera in the output topics (derived from its topic)',
    )
    group.add_argument(
        '--region',
        action='append',
        default=[],
        metavar='[NAME=]X,Y,...',
        help='part of the image to label, as the parameter NAME.region; repeatable',
    )
    group.add_argument(
        '--max-pixels',
        type=int,
        default=MAX_PIXELS,
        help='leave out larger images (%(default)s)',
    )
    group.add_argument(
        '--max-bytes',
        type=int,
        default=MAX_BYTES,
        help='leave out larger JPEG and PNG images (%(default)s)',
    )
    group.add_argument(
        '--start', type=float, metavar='S', help='in seconds after the first message'
    )
    group.add_argument('--end', type=float, metavar='S', help='in seconds after the first message')
    group.add_argument(
        '--every', type=int, default=1, metavar='N', help='segment every N-th frame (%(default)s)'
    )
    group.add_argument(
        '--batch',
        type=int,
        default=4,
        metavar='N',
        help='number of frames of one size segmented together (%(default)s)',
    )


def _add_cloud(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('points and CameraInfo, as the parameters of the node')
    for option, what in (
        ('--depth-topic', 'depth images aligned to the images: write points'),
        ('--camera-info-topic', 'CameraInfo of the images: write that of the labels'),
    ):
        group.add_argument(
            option,
            action='append',
            default=[],
            metavar='[NAME=]T',
            help=f'{what}; repeatable; NAME is a camera',
        )
    group.add_argument('--cloud', default='organised', choices=CLOUDS, help='%(default)s')
    group.add_argument(
        '--sync-tolerance-ms',
        type=float,
        default=100.0,
        metavar='MS',
        help='maximum difference between the stamps of an image and its depth (%(default)s)',
    )


Model = tuple[Segmenter, Vocabulary, npt.NDArray[np.unsignedinteger]]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What the arguments choose of a recording.

    Attributes:
        selection: Cameras, times and topics to copy.
        regions: By camera name.
        notes: What is left out, one line each.
    """

    selection: Selection
    regions: Mapping[str, CameraSettings]
    notes: list[str]


def load_model(args: argparse.Namespace) -> Model:
    """Load the model of the arguments and encode their prompts; see `encode_prompts`."""
    segmenter = arguments.load_segmenter(args)
    segmenter.shorten_features(args.feature_pca, args.feature_dim)
    return segmenter, *arguments.encode_prompts(segmenter, args)


def run(args: argparse.Namespace) -> int:
    """Segment a bag, and make the video and the report of it."""
    check(args)
    refuse_overlap(args.output, args.input)
    if args.table is not None:
        check_table(args.table, args.force)
    if args.rerun is not None:
        check_rerun(args.rerun, args.input, args.output, args.force)
    for path, suffix in ((args.video, '.mp4'), (args.report, '.html')):
        if path is not None and path.suffix != suffix:
            raise BagError(f'{path}: the name must end in {suffix}')
    with Recording(args.input) as recording:
        chosen = choose(args, recording)
        selection = chosen.selection
        cameras = list(selection.cameras.values())
        _use_objects(args, cameras)
        for note in chosen.notes:
            say(note)
        drawings = Drawings(args, recording, selection)
        settings = output_settings(args, recording, selection)
        with (
            _resumable(args.output),
            PartialBag(args.output, recording.storage, settings, args.resume, args.force) as bag,
        ):
            progress = segment(args, recording, chosen, bag)
            check_frames(progress, recording.damage)
            drawings.draw(bag.bag, progress)
            if args.table is not None:
                write_table(args.table, bag.bag, cameras, args.force)
            bag.finish()
        return _sum_up(args, recording, progress)


def choose(args: argparse.Namespace, recording: Recording) -> Chosen:
    """Find what the arguments name in a recording.

    Raises:
        BagError: Something is not there; says what is.
    """
    depth = camera_options.depth_topics(args)
    names = camera_options.camera_names(args)
    cameras, notes = choose_cameras(recording, args.topic, names, depth)
    cameras = camera_options.with_topics(args, recording, cameras)
    _check_depth(args, cameras)
    regions = camera_options.regions(args, cameras)
    selection = _selection(args, recording, cameras)
    copied, left_out = _copied(args, recording, cameras)
    return Chosen(
        dataclasses.replace(selection, copied=copied),
        regions,
        [*recording.notes, *notes, *left_out],
    )


def check_frames(progress: Progress, damage: Sequence[str]) -> None:
    """Raise BagError, with what is damaged, if no frame was segmented."""
    if not progress.frames:
        lines = damage_lines(damage, progress)
        raise BagError('\n'.join(['no frame could be segmented; nothing was written', *lines]))


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Add to a disk error (usually a full disk) that nothing is lost."""
    try:
        yield
    except OSError as error:
        raise BagError(
            f'{error}; the frames done so far are in {out}.partial, --resume continues'
        ) from error


def check(args: argparse.Namespace) -> None:
    """Check the arguments of `add_segmenting_arguments` before anything is loaded."""
    for name, least in (('every', 1), ('batch', 1), ('max_pixels', 1), ('max_bytes', 1)):
        if getattr(args, name) < least:
            option = name.replace('_', '-')
            raise BagError(f'--{option} is {getattr(args, name)}; must be at least {least}')
    if not 0.0 <= args.min_confidence <= 1.0:
        raise BagError(f'--min-confidence is {args.min_confidence}; must be between 0 and 1')
    if not 0.01 <= args.output_scale <= 1.0:
        raise BagError(f'--output-scale is {args.output_scale}; must be between 0.01 and 1')
    if not 0.0 <= args.min_object_size <= 1.0:
        raise BagError(f'--min-object-size is {args.min_object_size}; must be between 0 and 1')
    names = [prompt.name for prompt in parse_prompts(args.prompts)]
    for name in args.object_classes:
        if name not in names:
            raise BagError(f'--object-classes: no class {name!r}; available: {", ".join(names)}')
    if not 0.0 <= args.smoothing <= 0.99:
        raise BagError(f'--smoothing is {args.smoothing}; must be between 0 and 0.99')
    if not 0.0 <= args.sync_tolerance_ms < math.inf:
        raise BagError(f'--sync-tolerance-ms is {args.sync_tolerance_ms}; must be at least 0')


def _check_depth(args: argparse.Namespace, cameras: list[Camera]) -> None:
    wanted = [name for name in args.outputs if name in LOCATED_OUTPUTS]
    if wanted and not any(camera.depth_topic for camera in cameras):
        raise BagError(
            f'--outputs {" ".join(wanted)}: a position needs depth; give --depth-topic and '
            '--camera-info-topic'
        )


def _use_objects(args: argparse.Namespace, cameras: list[Camera]) -> None:
    """Write the outputs that the table and the Rerun file are made from."""
    if args.table is None and args.rerun is None:
        return
    wanted = ['detections']
    if any(camera.depth_topic for camera in cameras):
        wanted.append('detections_3d')
    args.outputs = [*args.outputs, *(name for name in wanted if name not in args.outputs)]


def _selection(args: argparse.Namespace, recording: Recording, cameras: list[Camera]) -> Selection:
    start, end = args.start, args.end
    length = (recording.end_ns - recording.start_ns) / SECOND
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)) or (start or 0) >= length:
        raise BagError(
            f'--start {start} --end {end}: must be seconds after the first message, with the start '
            f'before the end; the recording is {length:.1f} s long'
        )
    first = recording.start_ns
    return Selection(
        cameras={camera.topic: camera for camera in cameras},
        every=args.every,
        limits=(args.max_pixels, args.max_bytes),
        start_ns=None if start is None else first + round(start * SECOND),
        end_ns=None if end is None else first + round(end * SECOND),
    )


def _copied(
    args: argparse.Namespace, recording: Recording, cameras: list[Camera]
) -> tuple[frozenset[str], list[str]]:
    """Return the topics to copy, and a line for each that cannot be copied."""
    if args.copy is None:
        return frozenset(), []
    for name in args.copy:
        if recording.find(name) is None:
            topics = ', '.join(recording.topics)
            raise BagError(f'--copy {name}: no such topic; available: {topics}')
    segmented = {camera.topic for camera in cameras}
    named = {recording.find(name) or name for name in args.copy}
    wanted = named or set(recording.topics) - segmented
    ours = {camera.output(output) for camera in cameras for output in (*OUTPUTS, *LIVE_OUTPUTS)}
    notes = [f'{name} is not copied: it is made anew' for name in sorted(wanted & ours)]
    wanted -= ours
    unknown = {name for name in wanted if recording.topics[name].definition is None}
    for name in sorted(unknown):
        kind = recording.topics[name].type_name
        notes.append(f'{name} is not copied: the bag does not contain the definition of {kind}')
    return frozenset(wanted - unknown), notes


def common_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that determine the output, whatever the recording."""
    keys = (
        'prompts negative_prompts background templates min_confidence confidence_encoding overlay '
        'outputs object_classes min_object_size track feature_dim feature_pca output_scale region '
        'depth_topic camera_info_topic cloud sync_tolerance_ms max_pixels max_bytes delta '
        'smoothing edges model pretrained heads device precision engine quantized short_side every'
    )
    return {'gamma': arguments.gamma(args), **{key: getattr(args, key) for key in keys.split()}}


def output_settings(
    args: argparse.Namespace, recording: Recording, selection: Selection
) -> dict[str, Any]:
    """Return everything that determines the output; a resumed run must have the same."""
    return {
        'input': str(args.input.resolve()),
        'messages': sum(topic.count for topic in recording.topics.values()),
        'cameras': {camera.topic: camera.name for camera in selection.cameras.values()},
        'start': selection.start_ns,
        'end': selection.end_ns,
        'copy': sorted(selection.copied),
        **common_settings(args),
    }


def segment(
    args: argparse.Namespace,
    recording: Recording,
    chosen: Chosen,
    bag: PartialBag,
    load: Callable[[argparse.Namespace], Model] = load_model,
    read: int = 0,
    seen: Mapping[str, int] | None = None,
) -> Progress:
    """Write all messages, starting where an earlier run ended, and close the bag.

    Args:
        args: Those of `add_segmenting_arguments`.
        recording: Open.
        chosen: Of this recording.
        bag: Gets the messages.
        load: Called if something is left to do.
        read: Messages of the selection to pass over; see `read_windows`.
        seen: Frames of each camera before, by topic.
    """
    selection = chosen.selection
    if bag.complete:
        progress = Progress()
        progress.restore(bag.lines)
        for _ in recording.messages(None, selection.start_ns, selection.end_ns):
            pass  # what is damaged is known only to who reads it
        return progress
    segmenter, vocabulary, table = load(args)
    active = Active(_node_settings(args, chosen.regions), vocabulary, table, VERSION)
    extras = {*args.outputs, *(['overlay'] if args.overlay else [])}
    processor = Processor(segmenter, logging.getLogger(__name__))
    worker = BagSegmenter(processor, active, bag, extras)
    last: Mapping[str, Any] = bag.lines[-1] if bag.lines else {'read': read, 'seen': seen or {}}
    windows = read_windows(recording, selection, args.batch, last['read'], last['seen'])
    read, seen = last['read'], last['seen']
    try:
        with Bar(recording, selection, 'segmenting') as bar, closing(ahead(windows)) as running:
            for window in running:
                worker.process(window)
                read, seen = window.read, window.seen
                bar.advance(window.end_ns, worker.progress.frames)
    except KeyboardInterrupt:
        frames = worker.progress.frames
        say(f'stopped after {frames} frames; {bag.folder} has them, --resume continues')
        raise
    bag.close(**worker.state(read, seen, len(worker.progress.listed)))
    return worker.progress


def _node_settings(args: argparse.Namespace, regions: Mapping[str, CameraSettings]) -> Settings:
    """Return the settings as the node's parameters of the same names."""
    return Settings(
        prompts=tuple(args.prompts),
        negative_prompts=tuple(args.negative_prompts),
        background=args.background,
        templates=args.templates,
        gamma=arguments.gamma(args),
        delta=args.delta,
        min_confidence=args.min_confidence,
        confidence_encoding=args.confidence_encoding,
        max_rate=0.0,
        output_scale=args.output_scale,
        cloud=args.cloud,
        sync_tolerance_ms=args.sync_tolerance_ms,
        temporal_smoothing=args.smoothing,
        edges=args.edges,
        stale_after=0.0,
        min_object_size=args.min_object_size,
        object_classes=tuple(args.object_classes),
        track=args.track,
        of_cameras=regions,
    )


def _sum_up(args: argparse.Namespace, recording: Recording, progress: Progress) -> int:
    """Print a summary; return the exit code."""
    for name, frames in sorted(progress.segmented.items()):
        say(f'{name}: {frames} frames segmented')
    for name, frames in sorted(progress.without_cloud.items()):
        say(f'{name}: {frames} frames have no cloud or camera_info: {progress.cloud_reason}')
    damage = damage_lines(recording.damage, progress)
    if damage:
        count = sum(progress.rejected.values())
        say(f'{count} messages damaged and passed over' if count else 'not all could be read')
        for line in damage:
            say(f'  {line}')
    say(f'wrote {args.output}')
    return DAMAGED if damage else 0
