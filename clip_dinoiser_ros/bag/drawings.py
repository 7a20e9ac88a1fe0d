# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Video, report and Rerun file of a segmented recording, for `clip-dinoiser bag`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.bag.partial import check_target
from clip_dinoiser_ros.bag.playback import shown_frames
from clip_dinoiser_ros.bag.progress import Bar
from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.report import Report
from clip_dinoiser_ros.bag.rerun_file import RerunFile
from clip_dinoiser_ros.bag.segmenting import MAX_LISTED, SECOND, Progress
from clip_dinoiser_ros.bag.video import Videos
from clip_dinoiser_ros.bag.windows import Selection
from clip_dinoiser_ros.core.weights import description


class Drawings:
    """Video, report and Rerun file, made once all messages of the bag are written.

    Args:
        args: Of the command; `video`, `report` and `rerun` may be None.
        recording: The source, open.
        selection: The segmented part.

    Raises:
        BagError: A file exists and may not be replaced, or there is no H.264 encoder.
    """

    def __init__(
        self, args: argparse.Namespace, recording: Recording, selection: Selection
    ) -> None:
        self._args, self._recording, self._selection = args, recording, selection
        self._videos = self._report = None
        if args.video is not None:
            self._videos = Videos(args.video, list(selection.cameras.values()), args.force)
        if args.report is not None:
            check_target(args.report, args.force)
            start = selection.start_ns or recording.start_ns
            end = min(selection.end_ns or recording.end_ns, recording.end_ns)
            self._report = Report(args.report, start, end, args.force)

    def draw(self, bag: Path, progress: Progress) -> None:
        """Draw what is requested from the closed bag; damage found is added to `progress`."""
        path = self._args.rerun
        file: contextlib.AbstractContextManager[RerunFile | None] = contextlib.nullcontext()
        if path is not None:
            file = RerunFile(path, self._recording, self._selection, self._args.force)
        with file as rerun:
            self._draw(bag, progress, rerun)

    def _draw(self, bag: Path, progress: Progress, rerun: RerunFile | None) -> None:
        recording, selection = self._recording, self._selection
        views = [view for view in (self._videos, self._report, rerun) if view is not None]
        if not views:
            return
        with Bar(recording, selection, 'drawing') as bar:
            for frames, shown in enumerate(shown_frames(recording, selection, bag), start=1):
                for view in views:
                    view.add(shown)
                bar.advance(shown.time_ns, frames)
        if self._videos is not None:
            self._videos.finish()
        if rerun is not None:
            rerun.finish(bag)
            progress.listed += rerun.damage[:MAX_LISTED]
        if self._report is not None:
            self._report.finish(self._facts(progress), damage_lines(recording.damage, progress))

    def _facts(self, progress: Progress) -> dict[str, str]:
        """Return the facts at the top of the report."""
        args, recording = self._args, self._recording
        frames = ', '.join(
            f'{progress.segmented.get(camera.name, 0)} of {camera.topic} (as {camera.name})'
            for camera in self._selection.cameras.values()
        )
        return {
            'recording': f'{args.input}, {(recording.end_ns - recording.start_ns) / SECOND:.1f} s',
            'result': str(args.output),
            'frames': frames + (f', one of every {args.every}' if args.every > 1 else ''),
            'prompts': ', '.join(args.prompts),
            'negative prompts': ', '.join(args.negative_prompts) or 'none',
            'background': args.background or 'none',
            'model': description(args.model, args.pretrained, args.heads),
            'gamma': f'{arguments.gamma(args):g}',
        }


def damage_lines(damage: Sequence[str], progress: Progress) -> list[str]:
    """List what could not be read: messages, then parts of files (`Recording.damage`)."""
    lines = list(progress.listed)
    rest = sum(progress.rejected.values()) - len(lines)
    if rest > 0:
        lines.append(f'and {rest} more messages')
    return lines + list(dict.fromkeys(damage))
