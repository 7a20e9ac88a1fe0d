# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Video and report show what is in the bag."""

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from bags import SECOND, START_NS, image_message, pixels, read, write
from quick_model import NAMES, QuickSegmenter

from clip_dinoiser_ros import arguments, cli

av = pytest.importorskip('av', reason='no PyAV')

FRONT, REAR = '/front/image_raw', '/rear/image_raw'
SECONDS = (0.0, 0.1, 0.2, 0.55, 0.6, 0.6, 1.0)  # uneven, and two at one time


@pytest.fixture
def source(tmp_path):
    """Two cameras: discs that grow, one camera of odd size."""
    messages = []
    for i, seconds in enumerate(SECONDS):
        time_ns = START_NS + round(seconds * SECOND)
        wide, odd = np.full((96, 128, 3), 90, np.uint8), np.full((75, 101, 3), 10, np.uint8)
        cv2.circle(wide, (64, 48), 10 + 4 * i, (60, 200, 40), -1)
        messages += [
            (FRONT, time_ns, image_message(wide, time_ns)),
            (REAR, time_ns, image_message(odd, time_ns)),
        ]
    messages[8] = (FRONT, messages[8][1], (messages[8][2][0], b'damaged'))  # one of two at 0.6 s
    return write(tmp_path / 'in', messages)


def frames_of(path):
    with av.open(str(path)) as file:
        (stream,) = file.streams
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ('h264', 'yuv420p')
        return [(frame.time, frame.to_ndarray(format='rgb24')) for frame in file.decode(video=0)]


def test_video_decodes_to_the_overlays_at_their_times(run_quickly, source, tmp_path):
    options = ('--overlay', '--video', tmp_path / 'drive.mp4')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 3
    assert {p.name for p in tmp_path.iterdir()} == {
        'in', 'out', 'drive_front.mp4', 'drive_rear.mp4'
    }  # fmt: skip
    messages = read(tmp_path / 'out')
    for camera, size in {'front': (96, 128), 'rear': (76, 102)}.items():
        overlays = [
            (time_ns, pixels(message))
            for topic, time_ns, message in messages
            if topic == f'/clip_dinoiser/{camera}/overlay'
        ]
        frames = frames_of(tmp_path / f'drive_{camera}.mp4')
        assert len(frames) == len(overlays) == (6 if camera == 'front' else 7)
        for (seconds, shown), (time_ns, overlay) in zip(frames, overlays, strict=True):
            assert seconds == pytest.approx((time_ns - START_NS) / SECOND, abs=0.002)
            assert shown.shape == (*size, 3)
            height, width = overlay.shape[:2]
            assert np.abs(shown[:height, :width].astype(int) - overlay).mean() < 6


def test_video_begins_with_its_index_so_that_it_plays_at_once(run_quickly, source, tmp_path):
    video = tmp_path / 'drive.mp4'
    options = ('--topic', FRONT, '--video', video)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 3
    content = video.read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')
    assert run_quickly('bag', source, tmp_path / 'new', *options) == 1
    assert video.read_bytes() == content
    assert not (tmp_path / 'new').exists()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], ''
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


def test_report_is_one_file_that_names_everything(run_quickly, source, tmp_path):
    page = tmp_path / 'page.html'
    assert run_quickly('bag', source, tmp_path / 'out', '--report', page) == 3
    text = page.read_text()
    found = Page(text)
    links = [
        v for _, attributes in found.tags for k, v in attributes.items() if k in ('src', 'href')
    ]
    assert links
    assert all(link.startswith('data:image/jpeg;base64,') for link in links)
    assert not re.search(r'https?:|<script|<link|@import|url\(', text)
    for word in (*NAMES, 'front', 'rear', str(source), '6 frames', '7 frames', FRONT):
        assert word in found.words
    assert f'{FRONT} at {START_NS / SECOND + 0.6:.6f} s: not a sensor_msgs' in found.words
    tags = [tag for tag, _ in found.tags]
    assert tags.count('svg') == 4
    assert 6 <= tags.count('img') <= 12
    # rear is of one class, all over
    assert re.search(r'background</td><td class="number">0</td><td class="number">100.0%', text)
    assert 'nan' not in re.sub('base64,[^"]*', '', text)


@pytest.mark.parametrize(
    ('options', 'model', 'gamma'),
    [
        ((), 'ViT-B-16 (laion2b_s34b_b88k), heads authors', '0.2'),
        (('--model', 'demo'), 'demo (the small model of this package)', '0.7'),
        (('--model', 'demo', '--gamma', '0.5'), 'demo (the small model of this package)', '0.5'),
    ],
)
def test_report_says_what_was_loaded(run_quickly, source, tmp_path, options, model, gamma):
    page = tmp_path / 'page.html'
    assert run_quickly('bag', source, tmp_path / 'out', '--report', page, *options) == 3
    text = page.read_text()
    assert f'<tr><th>model</th><td>{model}</td></tr>' in text
    assert f'<tr><th>gamma</th><td>{gamma}</td></tr>' in text
    assert ('laion2b' in text) == (not options)


def test_report_escapes_what_it_is_given(tmp_path, source, monkeypatch):
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: QuickSegmenter())
    page = tmp_path / 'page.html'
    words = ['bag', source, tmp_path / 'out', '--report', page, '--topic', REAR, '--prompts']
    assert cli.main([*map(str, words), '<script>alert(1)</script>', 'b & c']) == 0
    text = page.read_text()
    assert '<script' not in text
    assert '&lt;script&gt;alert(1)&lt;/script&gt;' in text
    assert 'b &amp; c' in text


def test_report_of_a_long_recording_is_no_longer(run_quickly, tmp_path):
    image = np.full((32, 32, 3), 90, np.uint8)
    sizes = []
    for count in (400, 800):
        messages = [(FRONT, START_NS + i * SECOND, image_message(image, 0)) for i in range(count)]
        page = tmp_path / f'{count}.html'
        path = write(tmp_path / f'in{count}', messages)
        assert run_quickly('bag', path, tmp_path / f'out{count}', '--report', page) == 0
        sizes.append(page.stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 0.02 * sizes[0]
