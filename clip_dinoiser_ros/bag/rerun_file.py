# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A segmented recording as a file of the Rerun viewer (.rrd), for `clip-dinoiser bag --rerun`.

All times are those of the recording. An image is a plane before its camera, so that images, boxes,
points and transforms share one space:

    NAME                AnnotationContext: names and colours of the classes, by class id
    NAME/image          Pinhole
    NAME/image/...      rgb, labels, confidence, depth, objects
    NAME/points, NAME/objects, NAME/share/CLASS
    tf/FRAME            the transform of a frame to its parent
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.output_files import partial_file, refuse_overlap
from clip_dinoiser_ros.bag.partial import check_target, put
from clip_dinoiser_ros.bag.playback import Classes, Shown
from clip_dinoiser_ros.bag.recording import BagError, Message, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import Selection
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames.cloud import point_type
from clip_dinoiser_ros.frames.compressed import encode_jpeg
from clip_dinoiser_ros.frames.overlay import colour

VERSIONS = '0.41'  # of rerun-sdk: the API for frames and for reading changes between releases
APPLICATION, TIMELINE = 'clip_dinoiser', 'recorded'
TF = 'tf2_msgs/msg/TFMessage'
_BUFFER = 2**20  # bytes
_OPACITY = 0.5  # of the labels over the image


def check_rerun(path: Path, source: Path, output: Path, force: bool) -> None:
    """Refuse a file that cannot be written, before anything is segmented.

    Raises:
        BagError: Another ending, no folder, rerun-sdk is missing, of another version or turned off
            by the environment, the file exists.
        OutputFileError: It is a link, or lies in the input.
    """
    if path.suffix != '.rrd':
        raise BagError(f'{path}: the name must end in .rrd')
    refuse_overlap(path, source)
    if output.resolve() in (path.resolve(), *path.resolve().parents):
        raise BagError(f'--rerun {path} lies in the output {output}; give a path beside it')
    if not path.parent.is_dir():
        raise BagError(f'--rerun {path}: there is no folder {path.parent}')
    install = f"pip install 'rerun-sdk=={VERSIONS}.*'"
    try:
        rr: Any = importlib.import_module('rerun')
        version = importlib.metadata.version('rerun-sdk')
    except ImportError as error:
        raise BagError(f'--rerun needs the package rerun-sdk: {install}') from error
    if not version.startswith(f'{VERSIONS}.'):
        raise BagError(f'--rerun needs rerun-sdk {VERSIONS}, {version} is installed: {install}')
    if not rr.is_enabled(rr.RecordingStream(APPLICATION)):
        raise BagError('--rerun: the environment variable RERUN turns Rerun off; unset it')
    check_target(path, force)


class _Copy:
    """A thread that copies what a stream of Rerun writes into a file.

    When a disk is full, rerun-sdk 0.41 waits without end. So it writes into a pipe, which takes
    everything; what comes after an error is dropped.

    Attributes:
        error: Of the file; None: there was none.
    """

    def __init__(self, path: Path, stream: Any) -> None:
        self.error: OSError | None = None
        out, into = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(out, path), name='rerun')
        self._thread.start()
        try:
            stream.save(f'/dev/fd/{into}')  # opened anew, and closed by `disconnect`
        finally:
            os.close(into)

    def wait(self) -> None:
        """Wait until the stream is disconnected and the file closed."""
        self._thread.join()

    def _run(self, out: int, path: Path) -> None:
        with open(out, 'rb') as pipe:
            try:
                with path.open('wb') as file:
                    shutil.copyfileobj(pipe, file)
            except OSError as error:
                self.error = error
            while pipe.read(_BUFFER):
                pass


class RerunFile:
    """The file of a recording; it gets its name once it is complete.

    Args:
        path: Checked by `check_rerun`.
        recording: The source, open; its transforms are copied.
        selection: The segmented part.
        force: Replace what is there.

    Attributes:
        damage: A line for each transform that could not be read.
    """

    def __init__(self, path: Path, recording: Recording, selection: Selection, force: bool) -> None:
        self._rr: Any = importlib.import_module('rerun')
        self._path, self._force = path, force
        self._recording, self._selection = recording, selection
        self._cameras = list(selection.cameras.values())
        self._classes: dict[str, Classes] = {}
        self._ids: dict[tuple[str, str], int] = {}  # class id, by names of camera and class
        self._frames: dict[str, str] = {}  # of each camera
        self._parents: dict[str, str] = {}  # of each frame
        self.damage: list[str] = []
        self._rr.set_strict_mode(True)  # else errors are only logged
        self._part = partial_file(path)
        self._stream = self._rr.RecordingStream(APPLICATION)
        self._copy = _Copy(self._part, self._stream)
        self._stream.send_recording_name(path.stem)

    def __enter__(self) -> RerunFile:
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread that writes; without `finish` nothing gets the name of the file."""
        self._close()

    def _close(self) -> None:
        self._stream.disconnect()
        self._copy.wait()

    def add(self, shown: Shown) -> None:
        """Log image, labels, confidence and shares of a frame."""
        rr, name, classes = self._rr, shown.camera.name, shown.classes
        self._at(shown.time_ns)
        if self._classes.get(name) != classes:
            self._switch(name, classes)
        dtype = np.uint8 if classes.unlabelled_id == 255 else np.uint16
        ids = np.array(classes.ids, dtype)[shown.labels]
        ids[~shown.labelled] = classes.unlabelled_id
        image = rr.EncodedImage(contents=encode_jpeg(shown.image), media_type='image/jpeg')
        self._stream.log(f'{name}/image/rgb', image)
        self._stream.log(f'{name}/image/labels', rr.SegmentationImage(ids, opacity=_OPACITY))
        if shown.confidence is not None:
            grey = np.round(shown.confidence * 255).astype(np.uint8)
            self._stream.log(f'{name}/image/confidence', rr.Image(grey, color_model='L'))
        for class_name, share in zip(classes.names, shown.share, strict=True):
            self._stream.log([name, 'share', class_name], rr.Scalars(float(share)))

    def _switch(self, name: str, classes: Classes) -> None:
        """Log the names and colours that a camera's labels have from now on."""
        rr = self._rr
        known = [(i, text, colour(i)) for i, text in zip(classes.ids, classes.names, strict=True)]
        context = rr.AnnotationContext(
            [*known, (classes.unlabelled_id, 'unlabelled', (0, 0, 0, 0))]
        )
        self._stream.log(name, context)
        for class_id, text, rgb in known:
            line = rr.SeriesLines(colors=[rgb], names=[text])
            self._stream.log([name, 'share', text], line, static=True)
            self._ids[name, text] = class_id
        self._classes[name] = classes

    def finish(self, bag: Path) -> None:
        """Log what else the bag and the source have, close the file and rename it.

        Args:
            bag: The result, closed.

        Raises:
            OSError: Not everything could be written.
        """
        self._copy_results(bag)
        self._copy_transforms()
        self._stream.send_blueprint(self._blueprint())
        self._stream.flush()
        self._close()
        if self._copy.error is not None:
            raise OSError(f'{self._part} cannot be written: {one_line(self._copy.error)}')
        if not importlib.import_module('rerun_bindings').check_for_rrd_footer(self._part):
            raise OSError(f'{self._part} cannot be written: its end is missing')
        put(self._part, self._path, self._force)

    def _at(self, time_ns: int) -> None:
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(time_ns, 'ns'))

    def _copy_results(self, bag: Path) -> None:
        copies: dict[str, Callable[[Camera, Any], None]] = {
            'camera_info': self._add_intrinsics,
            'points': self._add_points,
            'detections': self._add_boxes,
            'detections_3d': self._add_boxes_3d,
        }
        topics = {c.output(part): (c, copy) for c in self._cameras for part, copy in copies.items()}
        with Recording(bag) as made:
            for message in made.messages(frozenset(made.topics) & topics.keys()):
                camera, copy = topics[message.topic.name]
                self._at(message.time_ns)
                copy(camera, _content(message))

    def _add_intrinsics(self, camera: Camera, info: Any) -> None:
        name, rr = camera.name, self._rr
        if name not in self._frames and info.header.frame_id:
            self._frames[name] = info.header.frame_id
            self._stream.log(name, rr.Transform3D(parent_frame=self._frames[name]), static=True)
        matrix, size = info.k.reshape(3, 3), (info.width, info.height)
        pinhole = rr.Pinhole(image_from_camera=matrix, resolution=size, image_plane_distance=0.5)
        self._stream.log(f'{name}/image', pinhole)

    def _add_points(self, camera: Camera, cloud: Any) -> None:
        """Log the points with depth, and the depth of every pixel unless the cloud is compact."""
        name, rr = camera.name, self._rr
        kind = point_type({2: np.uint8, 4: np.uint16}[_field(cloud, 'label').datatype])
        points = cloud.data.view(kind)
        if cloud.height > 1:
            depth = np.nan_to_num(points['z'].reshape(cloud.height, cloud.width))
            self._stream.log(f'{name}/image/depth', rr.DepthImage(depth, meter=1.0))
        points = points[np.isfinite(points['z'])]
        places = np.stack([points[axis] for axis in 'xyz'], axis=1)
        logged = rr.Points3D(places, class_ids=points['label'], show_labels=False)
        self._stream.log(f'{name}/points', logged)

    def _add_boxes(self, camera: Camera, found: Any) -> None:
        boxes = [one.bbox for one in found.detections]
        # here the first pixel reaches from 0 to 1, in the message from -0.5 to 0.5
        centres = [(b.center.position.x + 0.5, b.center.position.y + 0.5) for b in boxes]
        sizes = [(b.size_x, b.size_y) for b in boxes]
        described = self._described(camera, found.detections)
        logged = self._rr.Boxes2D(centers=centres, sizes=sizes, **described)
        self._stream.log(f'{camera.name}/image/objects', logged)

    def _add_boxes_3d(self, camera: Camera, found: Any) -> None:
        poses = [one.bbox.center for one in found.detections]
        centres = [_vector(pose.position) for pose in poses]
        turns = [_quaternion(pose.orientation) for pose in poses]
        sizes = [_vector(one.bbox.size) for one in found.detections]
        described = self._described(camera, found.detections)
        logged = self._rr.Boxes3D(centers=centres, sizes=sizes, quaternions=turns, **described)
        self._stream.log(f'{camera.name}/objects', logged)

    def _described(self, camera: Camera, detections: Sequence[Any]) -> dict[str, Any]:
        known = [one.results[0].hypothesis for one in detections]
        return {
            'labels': [f'{one.class_id} {one.score:.2f}' for one in known],
            'class_ids': [self._ids[camera.name, one.class_id] for one in known],
        }

    def _copy_transforms(self) -> None:
        """Log the transforms of the segmented part, and all static ones."""
        topics = {name for name, t in self._recording.topics.items() if t.type_name == TF}
        static = {name for name in topics if name.rsplit('/', 1)[-1] == 'tf_static'}
        start, end = self._selection.start_ns, self._selection.end_ns
        for message in self._recording.messages(static) if static else ():
            self._add_transforms(message, static=True)
        for message in self._recording.messages(topics - static, start, end):
            self._add_transforms(message)

    def _add_transforms(self, message: Message, static: bool = False) -> None:
        self._at(message.time_ns)
        try:
            content = _content(message)
        except Exception as error:  # rosbags raises several types for damaged bytes
            where = f'{message.topic.name} at {message.time_ns / 1e9:.6f} s'
            self.damage.append(f'{where}: {one_line(error)}')
            return
        for one in content.transforms:
            child, parent = one.child_frame_id.lstrip('/'), one.header.frame_id.lstrip('/')
            moved = self._rr.Transform3D(
                translation=_vector(one.transform.translation),
                quaternion=_quaternion(one.transform.rotation),
                child_frame=child,
                parent_frame=parent,
            )
            self._stream.log(['tf', child], moved, static=static)
            self._parents[child] = parent

    def _blueprint(self) -> Any:
        """Show everything at once: a row of images for each camera, then space and shares."""
        rrb: Any = importlib.import_module('rerun.blueprint')
        rows = []
        for camera in self._cameras:
            name, root = camera.name, f'/{camera.name}/image'
            layers = [f'{root}/{layer}' for layer in ('rgb', 'labels', 'objects')]
            views = [rrb.Spatial2DView(origin=root, contents=layers, name=f'{name}: labels')]
            for layer in ('confidence', *(['depth'] if camera.depth_topic else [])):
                part = f'{root}/{layer}'
                views.append(rrb.Spatial2DView(origin=root, contents=part, name=f'{name}: {layer}'))
            rows.append(rrb.Horizontal(*views))
        shares = [f'/{camera.name}/share/**' for camera in self._cameras]
        below = [rrb.TimeSeriesView(contents=shares, name='share of each class')]
        if self._frames:
            flat = ('labels', 'confidence', 'depth', 'objects')
            hidden = [f'- /{c.name}/image/{layer}' for c in self._cameras for layer in flat]
            space = rrb.SpatialInformation(target_frame=self._root())
            view = rrb.Spatial3DView(
                contents=['/**', *hidden], spatial_information=space, name='points'
            )
            below.insert(0, view)
        return rrb.Blueprint(
            rrb.Vertical(*rows, rrb.Horizontal(*below)),
            rrb.TimePanel(timeline=TIMELINE, state='collapsed'),
            collapse_panels=True,
        )

    def _root(self) -> str:
        """Return the frame that the first camera's frame hangs from in the end."""
        frame = next(iter(self._frames.values()))
        passed = {frame}
        while (parent := self._parents.get(frame)) and parent not in passed:
            passed.add(parent)
            frame = parent
        return frame


def _content(message: Message) -> Any:
    return typestore().deserialize_cdr(message.data, message.topic.type_name)


def _field(cloud: Any, name: str) -> Any:
    return next(field for field in cloud.fields if field.name == name)


def _vector(value: Any) -> tuple[float, float, float]:
    return value.x, value.y, value.z


def _quaternion(value: Any) -> tuple[float, float, float, float]:
    return value.x, value.y, value.z, value.w
