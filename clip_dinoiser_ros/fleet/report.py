# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report of a fleet: fleet_report.json, and the same as one HTML file without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from clip_dinoiser_ros import __version__
from clip_dinoiser_ros.bag.output_files import replace_file
from clip_dinoiser_ros.fleet.records import Record, write_json

REPORTS = ('fleet_report.json', 'fleet_report.html')


def write_reports(
    out: Path,
    made_with: Mapping[str, Any],
    records: Mapping[str, Record],
    failures: Mapping[str, str],
) -> None:
    """Write both reports.

    Args:
        out: Folder of the outputs.
        made_with: Settings, and digests of the model's files.
        records: By name of the recording.
        failures: Reasons, by name of the recording.
    """
    content = {
        'version': __version__,
        **made_with,
        'recordings': {name: asdict(records[name]) for name in sorted(records)},
        'failures': dict(sorted(failures.items())),
    }
    write_json(out / REPORTS[0], content)
    source = resources.files(__package__).joinpath('fleet_report.html.j2').read_text('utf-8')
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(source).render(content, total=_total(records))
    replace_file(out / REPORTS[1], f'{page}\n'.encode())


def _total(records: Mapping[str, Record]) -> dict[str, Any]:
    """Add up frames and seconds; classes by their mean over the frames."""
    frames = 0
    shares: dict[str, float] = {}
    for record in records.values():
        for camera, classes in record.classes.items():
            count = record.frames.get(camera, 0)
            frames += count
            for name, figures in classes.items():
                shares[name] = shares.get(name, 0.0) + count * (figures['share'] or 0.0)
    return {
        'frames': frames,
        'seconds': sum(record.seconds for record in records.values()),
        'damaged': sum(bool(record.damage) for record in records.values()),
        'classes': {name: share / max(frames, 1) for name, share in shares.items()},
    }
