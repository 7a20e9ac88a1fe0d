# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Nodes of Ray on this machine, and their processes."""

import contextlib
import os
from pathlib import Path

# read when Ray is imported: loopback only, and patience on a busy machine
os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'
os.environ['RAY_raylet_start_wait_time_s'] = '200'  # noqa: SIM112
os.environ['RAY_USAGE_STATS_ENABLED'] = '0'

NODE = {
    'num_cpus': 1,
    'object_store_memory': 80 * 2**20,
    'node_ip_address': '127.0.0.1',
    'include_dashboard': False,
}


def children(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f'/proc/{pid}/task').iterdir():
            found += [int(child) for child in (task / 'children').read_text().split()]
    return [*found, *(below for child in found for below in children(child))]


def name_of(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_text().replace('\0', ' ')
    except OSError:
        return ''


def actors_of(node):
    """The processes of a node that have the model."""
    raylet = node.all_processes['raylet'][0].process.pid
    found = [pid for pid in children(raylet) if name_of(pid).startswith('ray::')]
    return [pid for pid in found if 'IDLE' not in name_of(pid)]
