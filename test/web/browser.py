# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A real browser, headless Chromium, and what tests ask of it."""

import shutil
import tempfile
import time

import pytest

CHROMIUM = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
WAIT_S = 60.0  # only a failing test waits so long


def wait_for(condition, seconds=WAIT_S, what=''):
    """Return what `condition` returns as soon as that is true; it may raise meanwhile."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except Exception as error:  # an element that is being replaced
            last = error
        time.sleep(0.05)
    raise AssertionError(f'not within {seconds} s: {what or condition} (last: {last!r})')


class Browser:
    """One window of Chromium, with a profile of its own."""

    def __init__(self, size=(1280, 800)):
        program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
        driver = shutil.which('chromedriver')
        if program is None or driver is None:
            pytest.skip('no Chromium with its driver: apt-get install chromium chromium-driver')
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*FLAGS, f'--user-data-dir={self._profile.name}'):
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.resize(*size)

    def resize(self, width, height):
        """Set the size of the page itself; a window has a least width."""
        self.driver.execute_cdp_cmd(
            'Emulation.setDeviceMetricsOverride',
            {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 600},
        )

    def open(self, address):
        self.driver.get(address)
        return self

    def close(self):
        self.driver.quit()
        self._profile.cleanup()

    def all(self, selector):
        return self.driver.find_elements('css selector', selector)

    def one(self, selector):
        return wait_for(lambda: self.all(selector), what=selector)[0]

    def labelled(self, text):
        """The element with this label for screen readers: an input itself or what holds one."""
        return self.one(f'[aria-label="{text}"]')

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def legend(self):
        """Name, share and confidence of each class."""
        rows = self.js(
            "return [...document.querySelectorAll('.watch .viewer-legend tbody tr')]"
            '.map(row => [...row.cells].map(cell => cell.innerText.trim()))'
        )
        return {name: (share, confidence) for name, share, confidence in rows}

    def words(self):
        """What the rows of words say."""
        return self.js(
            "return [...document.querySelectorAll('[aria-label=words] input')].map(i => i.value)"
        )

    def choose_camera(self, name):
        self.labelled('Camera').click()
        wait_for(lambda: [i for i in self.all('.q-menu .q-item') if i.text == name])[0].click()

    def pixel(self, layer, x, y):
        """RGBA of a pixel of a layer of the watched stream, by fractions of its size."""
        return tuple(
            self.js(
                """const canvas = document.querySelectorAll('.watch canvas')[arguments[0]];
                return [...canvas.getContext('2d').getImageData(
                  Math.floor(arguments[1] * canvas.width), Math.floor(arguments[2] * canvas.height),
                  1, 1).data];""",
                ('image', 'labels', 'confidence').index(layer),
                x,
                y,
            )
        )

    def errors(self):
        """What the console of the browser complains of."""
        return [line for line in self.driver.get_log('browser') if line['level'] == 'SEVERE']
