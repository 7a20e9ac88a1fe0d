# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser fleet`: many recordings in, a recording with labels for each out."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.bag.command import add_segmenting_arguments, check, common_settings
from clip_dinoiser_ros.bag.output_files import refuse_link, refuse_overlap
from clip_dinoiser_ros.bag.recording import BagError
from clip_dinoiser_ros.core.vocabulary import join_prompts
from clip_dinoiser_ros.fleet.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    check_least,
    set_up_ray,
    with_absolute_paths,
)
from clip_dinoiser_ros.fleet.records import FOLDER, Record, read_json, read_record, write_json
from clip_dinoiser_ros.fleet.report import REPORTS, write_reports
from clip_dinoiser_ros.fleet.slices import Slice, can_be_sliced
from clip_dinoiser_ros.fleet.sources import Found, find_recordings, listed
from clip_dinoiser_ros.fleet.worker import Unit, Worker

FAILED = 4  # exit code: all others are done
_SETTINGS = f'{FOLDER}/settings.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='recording, folder with recordings, pattern, or .txt file with one of these per line; '
        'paths or URLs of fsspec (s3://, gs://)',
    )
    parser.add_argument(
        'output', type=Path, metavar='OUT', help='folder, seen by all nodes; goes on where it has'
    )
    group = add_segmenting_arguments(parser)
    group.add_argument(
        '--force', action='store_true', help='remove what an earlier run has made in OUT'
    )
    group = parser.add_argument_group('cluster')
    add_cluster_arguments(group, 'as many as fit')
    group.add_argument(
        '--scratch', type=Path, metavar='DIR', help='folder for copies of what is behind a URL'
    )
    group.add_argument(
        '--slice-gb',
        type=float,
        default=4.0,
        metavar='GB',
        help='divide recordings that are larger than twice this; 0: none (%(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Segment all recordings; return the exit code."""
    _check(args)
    sources = listed(args.sources)
    recordings = find_recordings(sources)
    for place in (*sources, *(one.source for one in recordings)):
        if Path(place).exists():
            refuse_overlap(args.output, Path(place))
    set_up_ray(args.address)
    args = _for_actors(args)
    with _locked(args.output):
        outcome = Outcome(args, recordings)
        outcome.prepare()
        try:
            _work(args, recordings, outcome)
        except KeyboardInterrupt:
            say(f'stopped; the same command goes on with what is missing in {args.output}')
            raise
        return outcome.finish()


def _check(args: argparse.Namespace) -> None:
    check(args)
    join_prompts(args.prompts, args.negative_prompts)
    check_cluster_arguments(args)
    check_least(args, slice_gb=0)
    if args.scratch is not None and not args.scratch.is_dir():
        raise BagError(f'--scratch {args.scratch}: not a folder; give one that exists on all nodes')


def _for_actors(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments as actors need them."""
    files = ('model', 'pretrained', 'heads', 'templates')
    args = with_absolute_paths(args, files, ('quantized', 'scratch'))
    args.output = args.output.absolute()
    args.slice_bytes = round(args.slice_gb * 1e9)
    return args


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other drivers from a folder."""
    refuse_link(out)
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / FOLDER).is_dir())):
        raise BagError(f'{out} has other files than those of fleet; give a new folder')
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    lock = os.open(out / FOLDER, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BagError(f'{out} is in use by another clip-dinoiser fleet') from error
        yield
    finally:
        os.close(lock)


class Outcome:
    """What is done, and what has failed.

    Args:
        args: Of the command, absolute.
        recordings: All.
    """

    def __init__(self, args: argparse.Namespace, recordings: Sequence[Found]) -> None:
        self._args, self._out = args, args.output
        self._recordings = recordings
        self._failures: dict[str, str] = {}
        self._slices_left: dict[str, int] = {}
        self._settings: dict[str, Any] = {}
        self._done = self._frames = 0
        self._bar: Any = None

    def prepare(self) -> None:
        """Compare the settings with those of an earlier run; `--force` removes its outputs.

        Raises:
            BagError: The folder was made with other settings, or of another recording.
        """
        settings = json.loads(json.dumps(common_settings(self._args)))
        copied = self._args.copy
        settings |= {
            'copy': copied if copied is None else sorted(copied),
            'topic': self._args.topic,
            'name': self._args.name,
            'start': self._args.start,
            'end': self._args.end,
        }
        path = self._out / _SETTINGS
        if self._args.force:
            _remove_outputs(self._out)
        before = read_json(path)
        if before is not None:
            self._compare(before['settings'], settings)
        self._settings = before or {'settings': settings, 'model': None}
        write_json(path, self._settings)

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for key, value in now.items():
            if before.get(key) != value:
                raise BagError(
                    f'{self._out} was made with {key} {before.get(key)!r}, now it is {value!r}; '
                    'give another folder, or --force to make all anew'
                )
        for one in self._recordings:
            record = self._record(one)
            if record is not None and record.source != one.source:
                raise BagError(
                    f'{self._out}/{one.name}.mcap is of {record.source}, not of {one.source}; '
                    'give another folder, or --force to make all anew'
                )

    def _record(self, found: Found) -> Record | None:
        return read_record(self._out / FOLDER / 'records' / f'{found.name}.json')

    def run_digest(self, model: dict[str, str]) -> str:
        """Return the digest of settings and model.

        Args:
            model: Digests of an actor's files.

        Raises:
            BagError: They differ from those of an earlier actor or run.
        """
        before = self._settings['model']
        if before is None:
            self._settings['model'] = model
            write_json(self._out / _SETTINGS, self._settings)
        elif before != model:
            name = next(key for key in model if before.get(key) != model[key])
            raise BagError(
                f'{self._out} was made with {name} of SHA-256 {before.get(name)}, an actor has '
                f'{model[name]}; give another folder, or --force to make all anew'
            )
        return hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()

    def done(self, unit: Unit, result: Record | list[Slice]) -> list[Unit]:
        """Count a unit; return the units that follow from it."""
        found = unit.found
        if isinstance(result, list):
            self._slices_left[found.name] = len(result)
            return [Unit('slice', found, one) for one in result]
        self._frames += sum(result.frames.values()) if unit.kind != 'join' else 0
        if unit.part is not None:
            self._slices_left[found.name] -= 1
            # the slices are nearly the whole, the rest comes with the joining
            self._tell(0)
            return [] if self._slices_left[found.name] else [Unit('join', found)]
        self._done += 1
        self._tell(found.size)
        if self._bar.disable:
            frames = sum(result.frames.values())
            damaged = f', {len(result.damage)} damaged' if result.damage else ''
            total = len(self._recordings)
            say(f'{self._done} of {total}: {found.name}, {frames} frames{damaged}')
        return []

    def failed(self, unit: Unit, reason: str) -> None:
        """Note that a recording has no output."""
        if unit.found.name not in self._failures:
            self._tell(unit.found.size)
            say(f'{unit.text} has failed: {reason}')
        self._failures[unit.found.name] = reason

    def _tell(self, size: int) -> None:
        seconds = max(self._bar.format_dict['elapsed'], 1e-9)
        self._bar.set_postfix_str(
            f'{self._done} recordings, {self._frames / seconds:.1f} frames/s, '
            f'{len(self._failures)} failed',
            refresh=False,
        )
        self._bar.update(size)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show a bar on a terminal, elsewhere a line per recording."""
        total = sum(one.size for one in self._recordings)
        with tqdm(
            total=total, unit='B', unit_scale=True, file=sys.stderr, disable=None, desc='fleet'
        ) as self._bar:
            yield

    def finish(self) -> int:
        """Write the reports; return the exit code."""
        records = {one.name: self._record(one) for one in self._recordings}
        done = {
            name: record
            for name, record in records.items()
            if record is not None and name not in self._failures
        }
        write_reports(self._out, self._settings, done, self._failures)
        frames = sum(sum(record.frames.values()) for record in done.values())
        say(f'{len(done)} recordings, {frames} frames: {self._out / REPORTS[1]}')
        damaged = sum(bool(record.damage) for record in done.values())
        if damaged:
            say(f'{damaged} recordings are damaged and segmented as far as they are whole')
        for name, reason in sorted(self._failures.items()):
            say(f'failed: {name}: {reason}')
        return FAILED if self._failures else DAMAGED if damaged else 0


def _remove_outputs(out: Path) -> None:
    """Remove what earlier runs have made, and nothing else."""
    records = out / FOLDER / 'records'
    for path in records.rglob('*.json'):
        output = out / path.relative_to(records).with_suffix('.mcap')
        output.unlink(missing_ok=True)
        path.unlink()
    for path in out.rglob('*.mcap.partial'):
        shutil.rmtree(path)
    shutil.rmtree(out / FOLDER / 'slices', ignore_errors=True)
    for name in (*REPORTS, _SETTINGS):  # the settings last: until then the run has not begun
        (out / name).unlink(missing_ok=True)


def _work(args: argparse.Namespace, recordings: Sequence[Found], outcome: Outcome) -> None:
    """Let actors do all recordings."""
    import ray

    from clip_dinoiser_ros.fleet.cluster import check_nodes, cluster, resources
    from clip_dinoiser_ros.fleet.dispatch import Dispatcher

    divided = args.slice_bytes and can_be_sliced(args)
    units = [
        Unit('divide' if divided and _is_large(args, one) else 'whole', one) for one in recordings
    ]
    with cluster(args.address, args.dashboard):
        if args.address is not None:
            check_nodes(args.output, _SETTINGS)
        cpus, gpus, count = resources(args)
        if not divided:
            count = min(count, len(units))
        actor = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus)
        say(f'{len(units)} recordings, {count} actors of {cpus} CPUs and {gpus:g} GPUs')
        with outcome.progress():
            work = Dispatcher[Unit](
                lambda: actor.remote(args, cpus), count, outcome.run_digest, outcome.failed
            )
            work.add(units)
            for unit, result in work.results():
                work.add(outcome.done(unit, result))


def _is_large(args: argparse.Namespace, found: Found) -> bool:
    # each slice of what is behind a URL would copy the whole
    return found.is_local and found.size > 2 * args.slice_bytes
