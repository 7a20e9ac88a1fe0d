# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What /diagnostics says, in plain words, and the silence of a node."""

from types import SimpleNamespace

import pytest

from clip_dinoiser_ros.web.robot_status import Diagnosed
from clip_dinoiser_ros.web.source import Status

ACTIVE = ('segmentation model', 0, 'active', {'state': 'active', 'model': 'demo'})


class Told:
    """A node that can be made to say what one likes, at any time."""

    def __init__(self):
        self.now_s, self.returns = 100.0, 0
        self.diagnosed = Diagnosed('/robot1/eyes', self._count, lambda: self.now_s)

    def _count(self):
        self.returns += 1

    def say(self, *statuses, owner='robot1/eyes'):
        self.diagnosed.put(
            SimpleNamespace(
                status=[
                    SimpleNamespace(
                        name=f'{owner}: {name}',
                        level=bytes([level]),
                        message=message,
                        values=[SimpleNamespace(key=k, value=v) for k, v in values.items()],
                    )
                    for name, level, message, values in statuses
                ]
            )
        )


def camera(level, message, **values):
    state = message.partition(':')[0]
    return 'front', level, message, {'state': state, 'topic': '/front/image_raw', **values}


@pytest.fixture
def told():
    return Told()


def test_a_camera_that_works(told):
    values = {'rate_out_hz': '9.82', 'age_of_newest_frame_s': '0.123', 'frames_rejected': '0'}
    told.say(ACTIVE, camera(0, 'active', **values))
    status = told.diagnosed.status('front', True)
    assert (status.level, status.summary) == (0, '9.8 labels/s, 0.1 s old')
    assert dict(status.details) == {
        'image topic': '/front/image_raw',
        'labels': '9.82/s',
        'age of the newest image': '0.123 s',
        'images that could not be used': '0',
        'model': 'demo',
    }
    assert told.diagnosed.topic('front') == '/front/image_raw'
    assert told.diagnosed.topic('rear') == ''


@pytest.mark.parametrize(
    ('level', 'message', 'summary'),
    [
        (1, 'waiting: no publisher on /a', 'waiting for images: no publisher on /a'),
        (3, 'stale: no frame for 7.0 s', 'no new labels: no frame for 7.0 s'),
        (2, 'rejected: step is 5', 'the images cannot be used: step is 5'),
        (1, 'active: some frames are rejected: x', '2.0 labels/s: some frames are rejected: x'),
    ],
)
def test_a_camera_that_does_not(told, level, message, summary):
    told.say(ACTIVE, camera(level, message, rate_out_hz='2', age_of_newest_frame_s='unknown'))
    status = told.diagnosed.status('front', True)
    assert (status.level, status.summary) == (level, summary)


def test_a_node_that_is_not_active(told):
    failed = 'unconfigured; cannot configure: heads /no: there is no file'
    told.say(('segmentation model', 2, failed, {'state': 'unconfigured'}))
    status = told.diagnosed.status('front', True)
    assert status.level == 2
    assert status.summary == (
        'the node is not configured yet: cannot configure: heads /no: there is no file'
    )


def test_prompts_that_are_being_encoded_are_told(told):
    *model, values = ACTIVE
    for said in ('true', 'false'):
        told.say((*model, {**values, 'encoding_prompts': said}), camera(0, 'active'))
        assert told.diagnosed.status('front', True).is_encoding is (said == 'true')


def test_silence(told):
    told.now_s += 4
    assert told.diagnosed.status('front', False) == Status(
        3, 'nothing heard of /robot1/eyes for 4 s'
    )
    told.say(ACTIVE, owner='other')
    assert told.diagnosed.status('front', True).level == 1  # no diagnostics, but services
    told.say(ACTIVE)
    assert (told.diagnosed.status('front', True).level, told.returns) == (0, 1)
    told.now_s += 2
    told.say(ACTIVE)  # every 2 s from here on
    told.now_s += 5
    assert told.diagnosed.status('front', True).level == 0
    told.now_s += 2
    status = told.diagnosed.status('front', True)
    assert (status.level, status.summary) == (3, 'nothing heard of /robot1/eyes for 7 s')
    assert told.returns == 1
    told.say(ACTIVE)
    assert (told.diagnosed.status('front', True).level, told.returns) == (0, 2)
