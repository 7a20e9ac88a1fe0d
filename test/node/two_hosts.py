# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node and a consumer on two hosts, and the cable between them is pulled out and put back.

Run in network and user namespaces of its own, `unshare --user --map-root-user --net`: the host of
the consumer. The node's host is one more network namespace, and a pair of virtual interfaces is the
cable. Neither has any other way out, so that nothing leaves this machine although discovery is not
limited to localhost here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golden_data import golden
from harness import NAME, Peer, Program, executable, ros_arguments

NODE, CONSUMER = '10.77.0.1', '10.77.0.2'
LEASE_S = 3  # instead of 20: a participant not heard of for so long is forgotten
PROFILE = f"""<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com">
  <participant profile_name="short_lease" is_default_profile="true">
    <rtps><builtin><discovery_config>
      <leaseDuration><sec>{LEASE_S}</sec></leaseDuration>
      <leaseAnnouncement><sec>1</sec></leaseAnnouncement>
    </discovery_config></builtin></rtps>
  </participant>
</profiles>
"""


def short_lease(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose participants have it (Jazzy, Kilted)."""
    path = folder / 'short_lease.xml'
    path.write_text(PROFILE)
    return {
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(path),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(path),
    }


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def host() -> Iterator[tuple[str, ...]]:
    """Another network namespace: the command that runs a program in it."""
    with subprocess.Popen(
        ['unshare', '--net', 'sh', '-c', 'echo made; read end'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:  # ends when its input does
        assert holder.stdout is not None
        assert holder.stdout.readline() == b'made\n'
        yield 'nsenter', f'--net=/proc/{holder.pid}/ns/net'


def connect(inside: tuple[str, ...]) -> None:
    """Lay the cable."""
    other = inside[1].removeprefix('--net=/proc/').split('/')[0]
    run('ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', other)
    for enter, interface, address in (((), 'near', CONSUMER), (inside, 'far', NODE)):
        run(*enter, 'ip', 'link', 'set', 'lo', 'up')
        run(*enter, 'ip', 'address', 'add', f'{address}/24', 'dev', interface)
        run(*enter, 'ip', 'link', 'set', interface, 'up')


def lose_and_find(parameters: dict, folder: Path) -> None:
    """A consumer loses the node for longer than the lease, and the words change meanwhile."""
    image = golden('image_160x208_plain')['image']
    with host() as inside:
        connect(inside)
        command = (*inside, sys.executable, executable(), *ros_arguments(parameters, folder, None))
        with Program(*command) as node, Peer() as peer:
            node.wait_for_log('active; waiting for images')
            peer.listen()
            peer.send_until(image, 100, 'labels')
            for index, (enter, interface) in enumerate((((), 'near'), (inside, 'far')), start=2):
                run(*enter, 'ip', 'link', 'set', interface, 'down')
                peer.until(lambda: not peer.node.count_publishers(f'{NAME}/camera/labels'))
                time.sleep(LEASE_S)  # the node, too, has forgotten the consumer by then
                peer.received.clear()
                words = ['background', f'red ball {index}']
                run(*inside, sys.executable, __file__, str(folder), *words)
                assert not peer.received
                run(*enter, 'ip', 'link', 'set', interface, 'up')
                check_served(peer, image, 100 * index, words)
            assert node.end() == 0
            assert 'Traceback' not in node.log


def check_served(peer: Peer, image, index: int, words: list[str]) -> None:
    """Wait for words, their numbers, and all that comes of an image."""
    assert peer.wait('vocabulary').names == words
    assert [entry.class_name for entry in peer.wait('label_info').class_map] == words
    peer.send_until(image, index, 'labels', 'confidence', 'frame_info')


def main(place: Path, words: list[str]) -> None:
    """Do all of it; with words: be the other program, which gives them to the node."""
    parameters = json.loads((place / 'parameters.json').read_text())
    # instead of what importing `harness` has set: LOCALHOST would not reach the other host, and
    # the programs on both must be in one domain
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SUBNET'
    os.environ['ROS_DOMAIN_ID'] = '0'
    os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'UDPv4'  # two hosts share no memory
    os.environ.update(short_lease(place))
    if not words:
        lose_and_find(parameters, place)
        return
    with Peer() as operator:
        assert operator.set(prompts=words)[0].successful


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2:])
