# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The Ray cluster: started on this machine, or joined; and whether its nodes can be used."""

from __future__ import annotations

import argparse
import logging
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clip_dinoiser_ros import __version__
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.fleet.cluster_arguments import ClusterError

_LOOPBACK = '127.0.0.1'
_STORE_BYTES = 80 * 2**20  # the least that Ray allows: no frame goes through it


@contextmanager
def cluster(address: str | None, dashboard: bool) -> Iterator[None]:
    """Join the cluster of an address, or start one that only this machine reaches.

    Args:
        address: HOST:PORT of the head; None: start one.
        dashboard: Start Ray's dashboard too.

    Raises:
        ClusterError: No cluster is there, or it has another version of Ray or Python.
    """
    quiet = {'log_to_driver': False, 'logging_level': logging.ERROR}
    try:
        if address is None:
            ray.init(
                'local',
                object_store_memory=_STORE_BYTES,
                include_dashboard=dashboard,
                dashboard_host=_LOOPBACK,
                **quiet,
            )
        else:
            _check_address(address)
            ray.init(address, **quiet)
    except Exception as error:  # Ray raises many types, and Exception itself
        where = 'cannot be started' if address is None else f'at {address} cannot be joined'
        raise ClusterError(f'the Ray cluster {where}: {one_line(error, 300)}') from error
    try:
        here = ray.util.get_node_ip_address()
        if address is None and here != _LOOPBACK:
            raise ClusterError(
                f'this Ray listens on {here}; start a cluster and give its --address'
            )
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Say in seconds what Ray says in minutes."""
    host, _, port = address.rpartition(':')
    if not host or not port.isdecimal():
        raise ValueError('give HOST:PORT of the head, as `ray start --head` printed it')
    with socket.create_connection((host, int(port)), timeout=10):
        pass


def check_nodes(folder: Path, marker: str = '') -> None:
    """Make sure that every node has our software and sees a folder.

    Args:
        folder: The folder.
        marker: Name of a file in it; a folder of the same name may be on every node.

    Raises:
        ClusterError: A node that cannot be used, and why.
    """
    ours = software()
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    for node in ray.nodes():
        if not node['Alive']:
            continue
        there = NodeAffinitySchedulingStrategy(node['NodeID'], soft=False)
        name = f'node {node["NodeManagerAddress"]}'
        try:
            theirs, sees = ray.get(
                look.options(scheduling_strategy=there).remote(folder / marker), timeout=120
            )
        except RayError as error:
            if not _is_alive(node['NodeID']):
                continue  # it has died meanwhile, and Ray notices late
            raise ClusterError(f'{name} cannot be used: {one_line(error, 300)}') from error
        for what, needed in ours.items():
            if theirs.get(what) != needed:
                raise ClusterError(
                    f'{name} has {what} {theirs.get(what)}, this machine has {needed}; '
                    'install the same on all nodes'
                )
        if not sees:
            raise ClusterError(f'{name} does not see {folder}; give a folder that all nodes share')


def _is_alive(node_id: str) -> bool:
    return any(node['NodeID'] == node_id and node['Alive'] for node in ray.nodes())


def software() -> dict[str, str]:
    """Return what must be the same on every node."""
    found = {'clip_dinoiser_ros': __version__, 'Python': platform.python_version()}
    for name in ('torch', 'numpy'):
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition('+')[0]
    return found


def _look(marker: Path) -> tuple[dict[str, str], bool]:
    return software(), marker.exists()


def resources(args: argparse.Namespace) -> tuple[int, float, int]:
    """Return CPUs and GPUs of an actor, and how many actors fit into the cluster.

    Raises:
        ClusterError: No node is large enough.
    """
    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    has_gpu = any(node.get('GPU', 0) for node in nodes)
    gpus = args.gpus
    if gpus is None:
        gpus = 1.0 if has_gpu and args.device in ('auto', 'cuda') else 0.0
    fitting = sum(
        int(min(node.get('CPU', 0) // args.cpus, node.get('GPU', 0) / gpus if gpus else 1e9))
        for node in nodes
    )
    if not fitting:
        most = ', '.join(f'{int(n.get("CPU", 0))} and {n.get("GPU", 0):g}' for n in nodes)
        raise ClusterError(
            f'an actor needs {args.cpus} CPUs and {gpus:g} GPUs, the nodes have {most}; '
            'give less: --cpus, --gpus'
        )
    return args.cpus, gpus, min(fitting, args.actors or fitting)
