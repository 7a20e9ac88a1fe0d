# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import threading

import pytest

from clip_dinoiser_ros.frames.guard import FinalError
from clip_dinoiser_ros.node.jobs import Jobs, RefusedError


@pytest.fixture
def ended():
    return []


@pytest.fixture
def jobs(ended):
    jobs = Jobs(lambda: None, ended.append, most_waiting=2)
    yield jobs
    assert jobs.close(10)


def finished(jobs, future):
    """Wait until a job is done: by one that comes after it."""
    last = threading.Event()
    jobs.ask(last.set)
    assert last.wait(10)
    assert future.done()
    return future


def test_jobs_are_done_in_order_and_errors_are_answers(jobs, ended):
    def fail():
        raise ValueError('no')

    assert finished(jobs, jobs.ask(lambda: 'first')).result() == 'first'
    assert str(finished(jobs, jobs.ask(fail)).exception()) == 'no'
    assert finished(jobs, jobs.ask(lambda: 'next')).result() == 'next'
    assert not ended


def test_more_than_a_few_are_refused_and_the_waiting_when_it_ends(jobs):
    began, go_on = threading.Event(), threading.Event()
    first = jobs.ask(lambda: (began.set(), go_on.wait(10)))
    assert began.wait(10)
    waiting = [jobs.ask(lambda: None) for _ in range(2)]
    with pytest.raises(RefusedError, match='2 requests wait already'):
        jobs.ask(lambda: None)
    assert not jobs.close(0)  # the first is at work
    assert all('deactivated' in str(future.exception()) for future in waiting)
    assert jobs.is_closed()
    with pytest.raises(RefusedError, match='being deactivated'):
        jobs.ask(lambda: None)
    go_on.set()
    assert jobs.close(10)
    assert first.done()


def test_a_device_that_fails_ends_the_process(jobs, ended):
    def fail():
        raise FinalError('gone')

    failed, after = jobs.ask(fail), threading.Event()
    jobs.ask(after.set)
    assert after.wait(10)
    assert ended == ['the device fails: gone']
    assert not failed.done()  # in a node, nothing comes after it
