# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page in a real browser, with a fake source: stripes of colour for the classes."""

import time

import cv2
import numpy as np
import pytest

pytest.importorskip('nicegui', reason='the extra `web` is not installed')
pytest.importorskip('selenium', reason='nothing to drive a browser with')

from browser import wait_for
from selenium.webdriver.common.keys import Keys

from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.web.settings_file import from_yaml

ATTACK = '<img src=x onerror=window.attacked=1>'


@pytest.fixture
def page(browser, fake_page):
    browser.resize(1280, 800)
    browser.open(fake_page.address)
    wait_for(browser.legend)
    wait_for(browser.words)
    return browser


def add(page, word):
    field = page.labelled('Add a word')
    field.send_keys(word, Keys.ENTER)


def test_shows_image_labels_and_legend(page):
    assert page.legend()['person'] == ('29 %', '0.75')
    assert page.pixel('labels', 0.1, 0.9) == (*colour(0), 255)
    assert page.pixel('labels', 0.5, 0.9) == (*colour(1), 255)
    assert page.pixel('labels', 0.5, 0.01)[3] == 0  # unlabelled is transparent
    assert page.pixel('image', 0.99, 0.5)[0] > 230
    wait_for(lambda: '10.0 labels/s' in page.one('.status').text)
    assert '2.5 m' in page.one('.viewer-objects').text
    assert 'segment 61 ms' in page.one('.viewer-times').text
    assert page.errors() == []


def test_a_new_word_changes_legend_and_image(page):
    add(page, 'forklift')
    wait_for(lambda: 'forklift' in page.legend())
    wait_for(lambda: page.pixel('labels', 0.95, 0.9) == (*colour(3), 255))
    assert page.words() == ['floor', 'person|human', 'wooden pallet', 'forklift']
    assert page.labelled('Add a word').get_attribute('value') == ''


@pytest.mark.long
def test_words_are_changed_moved_and_removed_and_this_can_be_undone(page):
    field = page.labelled('Word 2 and its synonyms, separated by |')
    field.send_keys('|worker', Keys.ENTER)
    wait_for(lambda: page.all('[aria-label="Move person|human|worker up"]'))
    page.labelled('Move person|human|worker up').click()
    wait_for(lambda: page.words() == ['person|human|worker', 'floor', 'wooden pallet'])
    page.labelled('Remove floor').click()
    wait_for(lambda: page.words() == ['person|human|worker', 'wooden pallet'])
    for expected in (
        ['person|human|worker', 'floor', 'wooden pallet'],
        ['floor', 'person|human|worker', 'wooden pallet'],
        ['floor', 'person|human', 'wooden pallet'],
    ):
        undo = next(b for b in page.all('button') if 'Undo' in b.text)
        undo.click()
        wait_for(lambda words=expected: page.words() == words)


def test_a_refused_word_shows_the_reason_at_its_row(page):
    field = page.labelled('Word 1 and its synonyms, separated by |')
    field.send_keys(' forbidden', Keys.ENTER)
    row = page.one('.word-row')
    wait_for(lambda: 'a word that this node refuses' in row.text)
    assert 'floor' in page.legend()
    field.send_keys(Keys.ESCAPE)
    wait_for(lambda: 'refuses' not in row.text)
    assert page.words()[0] == 'floor'


@pytest.mark.long
def test_while_words_are_encoded_the_page_says_so(page):
    add(page, 'slow word')
    wait_for(lambda: 'the old ones go on' in page.one('.encoding').text)
    assert 'slow word' not in page.legend()
    wait_for(lambda: 'slow word' in page.legend())
    wait_for(lambda: not page.one('.encoding').is_displayed())


@pytest.mark.long
def test_words_that_someone_else_gave_are_said_to_be_encoded(page):
    add(page, 'someone else')
    wait_for(lambda: 'someone else' in page.words())  # the change of this page is done
    wait_for(page.one('.encoding').is_displayed)
    page.labelled('Remove someone else').click()
    wait_for(lambda: not page.one('.encoding').is_displayed())


def test_two_pages_see_the_changes_of_each_other(page, fake_page, second_browser):
    second_browser.open(fake_page.address)
    wait_for(second_browser.words)
    add(page, 'forklift')
    wait_for(lambda: 'forklift' in second_browser.words())
    add(second_browser, 'shelf')
    wait_for(lambda: page.words()[-2:] == ['forklift', 'shelf'])


def test_names_stay_text(page):
    add(page, ATTACK)
    wait_for(lambda: ATTACK in page.legend())
    page.one('.watch .viewer-stage').click()  # the answer names it too
    wait_for(lambda: ATTACK in page.one('.viewer-tip').text)
    assert page.js('return window.attacked') is None
    assert page.all('img[src="x"]') == []


@pytest.mark.long
def test_a_place_has_a_class_and_runners_up(page):
    stage = page.one('.watch .viewer-stage')
    stage.click()  # in the middle
    tip = wait_for(lambda: page.one('.viewer-tip').text)
    assert tip.splitlines()[0].split() == ['person', '75', '%']
    assert 'floor' in tip
    # with the keyboard
    for _ in range(12):
        stage.send_keys(Keys.ARROW_LEFT)
    wait_for(lambda: page.one('.viewer-tip').text.startswith('floor'))


@pytest.mark.long
def test_layers_and_opacity(page):
    def labels():
        return page.all('.watch canvas')[1]

    assert labels().value_of_css_property('opacity') == '0.55'
    page.one('input[type=range]').send_keys(Keys.END)
    wait_for(lambda: labels().value_of_css_property('opacity') == '1')
    page.one('input[value=confidence]').click()
    wait_for(lambda: page.pixel('confidence', 0.5, 0.5)[0] in range(186, 197))
    assert not labels().is_displayed()


@pytest.mark.long
def test_a_slider_is_moved_by_the_keyboard(page, fake_page):
    slider = page.one('[aria-label="Leave unlabelled below this confidence"]')
    page.js("arguments[0].querySelector('[tabindex]').focus()", slider.find_element('xpath', '..'))
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    wait_for(lambda: '0.02' in page.one('.slider .value').text)
    page.open(fake_page.address)  # it was sent
    wait_for(lambda: '0.02' in page.one('.slider .value').text)


@pytest.mark.long
def test_background_filter(page):
    page.one('.q-toggle').click()
    wait_for(lambda: page.words()[0] == 'background')
    page.one('.q-toggle').click()
    wait_for(lambda: page.words()[0] == 'floor')


@pytest.mark.long
def test_everything_by_keyboard(page):
    """From the top of the page, Tab reaches the row for a new word, and Enter adds it."""
    body = page.one('body')
    body.send_keys(Keys.TAB)
    for _ in range(60):
        active = page.driver.switch_to.active_element
        if active.get_attribute('aria-label') == 'Add a word':
            break
        active.send_keys(Keys.TAB)
    active.send_keys('shelf', Keys.ENTER)
    wait_for(lambda: 'shelf' in page.words())
    nameless = page.js(
        """return [...document.querySelectorAll('button, input, textarea, [role=button]')].filter(
          e => e.offsetParent && !(e.ariaLabel || e.innerText.trim() || e.closest('label'))
        ).map(e => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.long
def test_nothing_is_watched_while_nobody_watches(page, fake_page):
    assert fake_page.watchers('front') == 1
    assert fake_page.watchers('rear') == 0
    page.open('about:blank')
    wait_for(lambda: fake_page.watchers('front') == 0)


def choose_all(page):
    page.choose_camera('all cameras')
    wait_for(lambda: len(page.all('.tile .viewer-key span')) == 6)  # three classes each


@pytest.mark.long
def test_all_cameras_side_by_side_and_one_of_them_again(page, fake_page):
    choose_all(page)
    wait_for(lambda: (fake_page.watchers('front'), fake_page.watchers('rear')) == (1, 1))
    for name in ('front', 'rear'):
        tile = page.labelled(name)
        assert 'person 29 %' in tile.text
        wait_for(lambda tile=tile: '10.0 labels/s' in tile.text)
    assert not page.all('.watch .viewer')[0].is_displayed()
    assert not page.all('.watch .details')[0].is_displayed()
    page.all('.tile .viewer-stage')[1].click()
    assert wait_for(lambda: page.one('.tile .viewer-tip').text).startswith('person')
    wait_for(lambda: page.one('.top .status').text == 'front: 10.0 labels/s, 0.1 s old')
    page.labelled('rear alone').click()
    wait_for(lambda: (fake_page.watchers('front'), fake_page.watchers('rear')) == (0, 1))
    wait_for(page.legend)
    assert page.all('.tile') == []
    choose_all(page)
    page.open('about:blank')
    wait_for(lambda: (fake_page.watchers('front'), fake_page.watchers('rear')) == (0, 0))


@pytest.mark.long
def test_sets_of_words(page, tmp_path):
    page.labelled('Name for the words in use').send_keys('hall 1')
    next(b for b in page.all('button') if b.text == 'Save').click()
    saved = tmp_path / 'sets/hall 1.yaml'
    wait_for(saved.exists)
    assert from_yaml(saved.read_text())['prompts'] == ['floor', 'person|human', 'wooden pallet']
    add(page, 'forklift')
    wait_for(lambda: 'forklift' in page.words())
    page.labelled('Saved sets').click()
    wait_for(lambda: page.all('.q-menu .q-item'))[0].click()
    next(b for b in page.all('button') if b.text == 'Use').click()
    wait_for(lambda: page.words() == ['floor', 'person|human', 'wooden pallet'])
    name = page.labelled('Name for the words in use')
    name.send_keys(Keys.CONTROL, 'a')
    name.send_keys('../escaped')
    next(b for b in page.all('button') if b.text == 'Save').click()
    wait_for(lambda: 'is no name' in page.one('main').text)
    assert [path.name for path in tmp_path.rglob('*.yaml')] == ['hall 1.yaml']


def open_trying(page):
    page.one('.try .q-expansion-item__container > .q-item').click()
    return wait_for(lambda: page.all('.try .try-source'))[0]


@pytest.mark.long
def test_words_are_tried_without_changing_those_in_use(page, tmp_path):
    open_trying(page)
    time.sleep(0.5)  # it unfolds
    photo = np.full((120, 160, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / 'photo.png'), photo)
    page.one('.try input[type=file]').send_keys(str(tmp_path / 'photo.png'))
    wait_for(lambda: 'Image of 160 x 120 pixels' in page.one('.try').text)
    wait_for(lambda: len(page.all('.try .viewer-legend')) == 2)
    words = page.labelled('Words of set B, one on each line')
    words.send_keys(Keys.CONTROL, 'a')
    words.send_keys('floor\nladder')
    column = page.all('.try-column')[1]
    next(b for b in column.find_elements('css selector', 'button') if b.text == 'Try').click()
    wait_for(lambda: 'ladder' in column.find_element('css selector', '.viewer-legend').text)
    assert 'ladder' not in page.words()
    stage = column.find_element('css selector', '.viewer-stage')
    stage.click()  # where two stripes meet; the fake, as a node, tells nothing of the runner-up
    tip = wait_for(lambda: column.find_element('css selector', '.viewer-tip').text)
    assert tip in ('floor 75 %', 'ladder 75 %')
    next(b for b in column.find_elements('css selector', 'button') if b.text == 'Use these').click()
    wait_for(lambda: page.words() == ['floor', 'ladder'])


HUGE = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + 2 * (60000).to_bytes(4, 'big') + bytes(9)


@pytest.mark.long
@pytest.mark.parametrize(
    ('content', 'reason'),
    [(ATTACK.encode(), 'neither JPEG nor PNG'), (HUGE, '60000x60000 pixels; allowed')],
)
def test_what_cannot_be_used_is_refused(page, tmp_path, content, reason):
    open_trying(page)
    (tmp_path / 'photo.png').write_bytes(content)
    page.one('.try input[type=file]').send_keys(str(tmp_path / 'photo.png'))
    wait_for(lambda: reason in page.one('.try').text)


@pytest.mark.long
@pytest.mark.parametrize('size', [(390, 844), (1280, 800), (2560, 1440)])
def test_no_page_is_wider_than_its_screen(page, size):
    page.resize(*size)
    choose_all(page)
    assert page.js('return document.documentElement.scrollWidth') <= size[0]
    page.labelled('front alone').click()
    open_trying(page)
    width = page.js('return document.documentElement.scrollWidth')
    assert width <= size[0]
