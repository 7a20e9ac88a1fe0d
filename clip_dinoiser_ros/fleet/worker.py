# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an actor does: it holds the model, takes the path of a recording, and writes a file."""

from __future__ import annotations

import argparse
import copy
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clip_dinoiser_ros.bag.command import (
    Chosen,
    Model,
    check_frames,
    choose,
    load_model,
    output_settings,
    segment,
)
from clip_dinoiser_ros.bag.drawings import damage_lines
from clip_dinoiser_ros.bag.partial import InUseError, PartialBag
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.segmenting import MAX_LISTED, SECOND, Progress
from clip_dinoiser_ros.core.errors import is_full
from clip_dinoiser_ros.core.manifest import MANIFEST
from clip_dinoiser_ros.core.sources import authors_heads, is_heads_source
from clip_dinoiser_ros.core.transfer import digest_of
from clip_dinoiser_ros.core.weights import DEMO, demo_files, find_file
from clip_dinoiser_ros.fleet.records import (
    FOLDER,
    ClassFigures,
    Record,
    is_finished,
    read_json,
    read_record,
    write_json,
    write_record,
)
from clip_dinoiser_ros.fleet.slices import Slice, divide, joined
from clip_dinoiser_ros.fleet.sources import Found, local_copy

_IN_USE_S = 60.0  # an actor whose driver was killed may live a little longer


@dataclass(frozen=True)
class Unit:
    """A piece of work.

    Attributes:
        kind: whole, slice: segment; divide: find the slices; join: make one output of them.
        found: The recording.
        part: The slice; None: the whole recording.
    """

    kind: str
    found: Found
    part: Slice | None = None

    @property
    def size(self) -> int:
        """Bytes that go through the model or are copied."""
        return self.found.size if self.part is None else self.part.size

    @property
    def text(self) -> str:
        """Name for the user."""
        return self.found.name + ('' if self.part is None else f', slice {self.part.number}')


def model_digests(args: argparse.Namespace) -> dict[str, str]:
    """Return the SHA-256 of the files of the model, by what they are; a name where none is known.

    Raises:
        WeightsError: A file is missing.
    """
    files = {'model': args.model, 'pretrained': args.pretrained, 'heads': args.heads}
    if args.model == DEMO:
        files = demo_files()
    weights = find_file(files['model'], files['pretrained'])
    heads = files['heads']
    paths = {
        'model': Path(files['model']),
        'pretrained': weights or Path(files['pretrained']),
        'heads': authors_heads(heads) if is_heads_source(heads) else Path(heads),
        'templates': Path(args.templates),
        'quantized': Path(args.quantized or '', MANIFEST),
    }
    names = {**files, 'templates': args.templates, 'quantized': args.quantized or 'none'}
    return {
        what: digest_of(path, 64) if path.is_file() else names[what] for what, path in paths.items()
    }


class Worker:
    """Holds the model and makes outputs.

    Args:
        args: Those of `clip-dinoiser fleet`, with absolute paths.
        threads: Of torch.
    """

    def __init__(self, args: argparse.Namespace, threads: int) -> None:
        torch.set_num_threads(threads)
        self._args = args
        self._out: Path = args.output
        self._model: Model | None = None

    def start(self) -> dict[str, str]:
        """Load the model; return `model_digests`."""
        self._load(self._args)
        return model_digests(self._args)

    def _load(self, args: argparse.Namespace) -> Model:
        if self._model is None:
            self._model = load_model(args)
        return self._model

    def run(self, unit: Unit, run: str) -> Record | list[Slice]:
        """Do a unit, unless its output is there.

        Args:
            unit: What to do.
            run: Digest of settings and model.

        Returns:
            What was written; of a recording to divide its slices.

        Raises:
            BagError: The recording cannot be used.
            OSError: The disk is full, or a file went away.
        """
        found, output = unit.found, self._output(unit)
        partial = output.with_name(f'{output.name}.partial')
        record = read_record(self._record(unit))
        if record is None or not is_finished(output, record, found.source, found.size, run):
            if unit.kind == 'divide':
                return self._divide(found, run)
            make = self._join if unit.kind == 'join' else self._segment
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                record = make(unit, run)
            except OSError as error:
                if is_full(error):  # others may find the room
                    shutil.rmtree(partial, ignore_errors=True)
                raise
        # an earlier run may have been killed before it removed them
        shutil.rmtree(partial, ignore_errors=True)
        if unit.part is None:
            shutil.rmtree(self._slices(found), ignore_errors=True)
        return record

    def _slices(self, found: Found) -> Path:
        return self._out / FOLDER / 'slices' / found.name

    def _output(self, unit: Unit) -> Path:
        if unit.part is None:
            return self._out / f'{unit.found.name}.mcap'
        return self._slices(unit.found) / f'{unit.part.number:05}.mcap'

    def _record(self, unit: Unit) -> Path:
        if unit.part is None:
            return self._out / FOLDER / 'records' / f'{unit.found.name}.json'
        return self._output(unit).with_suffix('.json')

    def _segment(self, unit: Unit, run: str) -> Record:
        args, part = copy.copy(self._args), unit.part
        with local_copy(unit.found, args.scratch) as args.input, Recording(args.input) as recording:
            chosen = choose(args, recording)
            if part is not None:
                selection = replace(
                    chosen.selection,
                    start_ns=part.start_ns,
                    latched_before=part.number == 0,
                    stop=part.stop,
                )
                chosen = replace(chosen, selection=selection)
            settings = {**output_settings(args, recording, chosen.selection), 'run': run}
            figures = ClassFigures(chosen.selection.cameras.values() if part is None else ())
            with self._open(self._output(unit), settings, figures) as bag:
                start = (0, {}) if part is None else (part.read, part.seen)
                progress = segment(args, recording, chosen, bag, self._load, *start)
                damage = recording.damage
                if part is None:
                    check_frames(progress, damage)
                else:  # what the whole lacks is in the plan
                    damage = []
                return self._finish(unit, run, bag, progress, damage, recording, chosen, figures)

    def _open(self, output: Path, settings: Mapping[str, Any], figures: ClassFigures) -> PartialBag:
        """Go on with what an actor left that died; else start."""
        deadline = time.monotonic() + _IN_USE_S
        resume = True
        while True:
            try:
                return PartialBag(output, 'mcap', settings, resume, True, figures.add)
            except InUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            except (BagError, FileNotFoundError):  # another recording, or it is damaged
                if not resume:
                    raise
                resume = False

    def _finish(
        self,
        unit: Unit,
        run: str,
        bag: PartialBag,
        progress: Progress,
        damage: list[str],
        recording: Recording,
        chosen: Chosen,
        figures: ClassFigures,
    ) -> Record:
        """Write the record of a closed bag, then give the bag its name."""
        record = Record(
            source=unit.found.source,
            size=unit.found.size,
            run=run,
            sha256=digest_of(bag.bag / f'{bag.bag.name}.mcap', 64),
            frames=progress.segmented,
            rejected=progress.rejected,
            seconds=(recording.end_ns - recording.start_ns) / SECOND,
            classes=figures.result(),
            damage=damage_lines(damage, progress),
            notes=chosen.notes,
        )
        write_record(self._record(unit), record)
        bag.finish()
        return record

    def _divide(self, found: Found, run: str) -> list[Slice]:
        """Find the slices of a recording, once."""
        path = self._slices(found) / 'plan.json'
        key = [found.source, found.size, run, self._args.slice_bytes, self._args.batch]
        plan = read_json(path)
        if not plan or plan['key'] != key:
            shutil.rmtree(path.parent, ignore_errors=True)
            with Recording(Path(found.source)) as recording:
                args = self._args
                slices = divide(
                    recording, choose(args, recording).selection, args.batch, args.slice_bytes
                )
                plan = {
                    'key': key,
                    'slices': [asdict(one) for one in slices],
                    'damage': recording.damage,
                }
            write_json(path, plan)
        return [Slice(**one) for one in plan['slices']]

    def _join(self, unit: Unit, run: str) -> Record:
        """Make one output of the slices."""
        found, plan = unit.found, read_json(self._slices(unit.found) / 'plan.json')
        units = [Unit('slice', found, Slice(**one)) for one in plan['slices']]
        parts = [(self._output(one), read_json(self._record(one))) for one in units]
        progress = Progress()
        for _, record in parts:
            progress.listed += record['damage'][: MAX_LISTED - len(progress.listed)]
            for total, key in ((progress.segmented, 'frames'), (progress.rejected, 'rejected')):
                for name, count in record[key].items():
                    total[name] = total.get(name, 0) + count
        with Recording(Path(found.source)) as recording:
            chosen = choose(self._args, recording)
            check_frames(progress, plan['damage'])
            cameras = list(chosen.selection.cameras.values())
            figures = ClassFigures(cameras)
            with self._open(self._output(unit), {'run': run}, figures) as bag:
                if not bag.complete:
                    for message in joined(parts, cameras):
                        bag.write(message)
                    bag.close()
                damage = plan['damage']
                return self._finish(unit, run, bag, progress, damage, recording, chosen, figures)
