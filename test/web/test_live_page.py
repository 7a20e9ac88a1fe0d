# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page in a real browser, served by the installed program, of a live node."""

import signal
import sys

import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')
pytest.importorskip('selenium', reason='no driver for a browser')
pytest.importorskip('nicegui', reason='the extra `web` is not installed')

from browser import Browser, wait_for
from harness import RELIABLE, NodeProcess, Peer, Program, executable, numbered_frame, ticking
from live import PARAMETERS, PERIOD_S, picture
from selenium.webdriver import ActionChains
from sensor_msgs.msg import Image

START_S = 60.0
WORDS = ('background', 'person', 'blue barrel')


@pytest.fixture
def page(tmp_path):
    """The browser with the page of the installed program."""
    arguments = ('--port', '0', '--sets', str(tmp_path / 'sets'))
    with Program(sys.executable, executable().with_name('web'), *arguments) as program:
        program.wait_for_log('page: ')
        browser = Browser()
        try:
            yield browser.open(program.lines[-1].removeprefix('page: '))
        finally:
            browser.close()
        assert program.end() == 0
        assert 'Traceback' not in program.log


def classes(browser):
    """The names in the legend, which marks the background."""
    return {name.removesuffix(' background') for name in browser.legend()}


def colours(browser):
    """The colours of the labels in a grid of points."""
    places = [(0.1 * x, 0.1 * y) for x in range(1, 10) for y in range(1, 10)]
    return [browser.pixel('labels', x, y) for x, y in places]


@pytest.mark.long
def test_words_colours_and_a_killed_node(page, tmp_path):
    parameters = {**PARAMETERS, 'prompts': [*WORDS]}
    with Peer() as peer:
        publisher = peer.node.create_publisher(Image, '/camera/image_raw', RELIABLE)

        def send(index):
            publisher.publish(numbered_frame(picture(), index))

        with NodeProcess(parameters, tmp_path) as node, ticking(send, PERIOD_S):
            wait_for(lambda: classes(page) == set(WORDS), START_S)
            wait_for(lambda: page.words() == [*WORDS])
            before = wait_for(lambda: colours(page))
            wait_for(lambda: 'labels/s' in page.one('.status').text)

            page.labelled('Add a word').send_keys('grass\n')
            wait_for(lambda: 'grass' in classes(page))
            wait_for(lambda: colours(page) != before)
            assert peer.get('prompts') == [[*WORDS, 'grass']]

            page.labelled('Add a word').send_keys('Person\n')
            wait_for(lambda: 'names must be unique' in page.one('body').text)  # the node's words
            assert peer.get('prompts') == [[*WORDS, 'grass']]

            stage = page.one('.watch .viewer-stage')
            ActionChains(page.driver).move_to_element_with_offset(stage, -50, 40).perform()
            tip = wait_for(lambda: page.all('.watch .viewer-tip')[0].text)
            assert '%' in tip
            assert any(word in tip for word in (*WORDS, 'grass'))

            assert peer.set(prompts=['sky', 'background'])[0].successful  # by someone else
            wait_for(lambda: page.words() == ['sky', 'background'])
            wait_for(lambda: classes(page) == {'sky', 'background'})

            node.process.send_signal(signal.SIGKILL)
            node.process.wait(30)
            wait_for(lambda: 'nothing heard of' in page.one('.status').text)
        with NodeProcess(parameters, tmp_path), ticking(send, PERIOD_S):
            wait_for(lambda: classes(page) == set(WORDS), START_S)
            wait_for(lambda: page.words() == [*WORDS])
            wait_for(lambda: 'labels/s' in page.one('.status').text)
    assert not page.errors()
