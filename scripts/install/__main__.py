# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Make a virtual environment with exactly the packages of a lock.

python3 scripts/install VENV LOCK

Nothing is resolved: only the files in the lock are downloaded, and every file must have its hash.
uv installs them, in seconds if its cache has the files; pip does so where uv is not available. An
incomplete environment is made again; downloads stay in the cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

from complaints import SetupError, complain
from installers import Pip, Uv, find_uv
from places import Places, make_environment
from runs import Ended, say

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Install; print progress and, if it fails, one line that says what to do."""
    venv, lock = (Path(argument).absolute() for argument in sys.argv[1:3])
    try:
        install(venv, lock)
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)  # noqa: T201
    except OSError as error:
        print(f'setup: {complain(Ended(1, str(error)), venv)}', file=sys.stderr)  # noqa: T201
    else:
        return 0
    return 1


def install(venv: Path, lock: Path) -> None:
    """Install the packages of `lock` into `venv` and check that it is complete and consistent."""
    places = Places.of(venv)
    make_environment(places)
    uv = find_uv(places, ROOT / 'requirements/uv.lock.txt')
    installer = Pip(places) if uv is None else Uv(places, uv)
    say(f'{installer.name} installs {lock.name}')
    installer.install(lock)
    installer.check()


if __name__ == '__main__':
    sys.exit(main())
