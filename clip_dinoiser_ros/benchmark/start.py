# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time from the start of a process to its first label image.

Run as a module, it is that process, and prints each step it reaches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence

MODULE = 'clip_dinoiser_ros.benchmark.start'
STEPS = ('imports', 'model', 'prompts', 'first labels')


def measure_start(arguments: Sequence[str], cpu_time: bool = False) -> dict[str, float]:
    """Start a process that segments one image; return the seconds to each of `STEPS`.

    Args:
        arguments: Arguments for the model as on the command line, and --prompts.
        cpu_time: Measure CPU time of all threads instead of elapsed time.

    Raises:
        ValueError: The process ended with an error.
    """
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, '-m', MODULE, *arguments], capture_output=True, text=True
    )
    if process.returncode != 0:
        raise ValueError(f'the process to be timed failed: {process.stderr.strip()[-500:]}')
    reached = json.loads(process.stdout.splitlines()[-1])
    if cpu_time:
        return {step: reached[step][1] for step in STEPS}
    return {step: reached[step][0] - start for step in STEPS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment one image and print elapsed and CPU seconds at each step."""
    reached = {}
    import numpy as np

    from clip_dinoiser_ros import arguments as shared

    parser = argparse.ArgumentParser()
    shared.add_model_arguments(parser)
    shared.add_prompt_arguments(parser)
    args = parser.parse_args(arguments)
    reached['imports'] = _now()
    segmenter = shared.load_segmenter(args)
    reached['model'] = _now()
    vocabulary, _ = shared.encode_prompts(segmenter, args)
    reached['prompts'] = _now()
    segmenter.segment(np.zeros((480, 640, 3), np.uint8), vocabulary)
    reached['first labels'] = _now()
    print(json.dumps(reached))  # noqa: T201


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


if __name__ == '__main__':
    main()
