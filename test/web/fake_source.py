# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A fake source: stripes for classes, no model and no robot. The page cannot tell.

`python fake_source.py ARGUMENTS` serves its page; the arguments are those of `web/server.py`.
Words that contain 'forbidden' are refused, 'slow' takes two seconds, and 'someone else' encodes for
as long as this is a word. It writes to stderr who watches.
"""

import argparse
import logging
import threading
import time

import numpy as np

from clip_dinoiser_ros.web.notices import Notices
from clip_dinoiser_ros.web.source import (
    ClassProbability,
    RefusedError,
    ShownClass,
    ShownFrame,
    ShownObject,
    Status,
)

HEIGHT, WIDTH = 240, 320
RATE_HZ = 10.0
CAMERAS = ('front', 'rear')


class FakeSource:
    title = '/fake_node'
    can_change = True

    def __init__(self):
        self.values = {
            'prompts': ('floor', 'person|human', 'wooden pallet'),
            'negative_prompts': (),
            'background': '',
            'min_confidence': 0.0,
            'temporal_smoothing': 0.0,
            'max_rate': 0.0,
        }
        self.ids = {'floor': 0, 'person': 1, 'wooden pallet': 2}
        self.watched = dict.fromkeys(CAMERAS, 0)
        self.changed = Notices()

    def cameras(self):
        return CAMERAS

    def watch(self, camera, on_frame):
        self.watched[camera] += 1
        logging.warning('watched %s: %d', camera, self.watched[camera])
        over = threading.Event()

        def play():
            number = 0
            while not over.wait(1 / RATE_HZ):
                number += 1
                on_frame(self.frame(camera, number, self.values['prompts']))

        threading.Thread(target=play, daemon=True).start()

        def stop():
            over.set()
            self.watched[camera] -= 1
            logging.warning('watched %s: %d', camera, self.watched[camera])

        return stop

    def frame(self, camera, number, prompts, background='', image=None):
        names = [prompt.split('|')[0] for prompt in prompts]
        for name in names:
            self.ids.setdefault(name, len(self.ids))
        if image is None:
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            image[:, :, 0] = np.linspace(0, 255, WIDTH).astype(np.uint8)
            image[(number * 4) % HEIGHT] = 255
        height, width, _ = image.shape
        columns = np.arange(width) * len(names) // width
        labels = np.array([self.ids[name] for name in names], np.uint8)[columns]
        labels = np.tile(labels, (height, 1))
        labels[: height // 8] = 255
        return ShownFrame(
            camera=camera,
            stamp_ns=time.time_ns(),
            image=image,
            labels=labels,
            confidence=np.full(labels.shape, 0.75, np.float32),
            unlabelled_id=255,
            classes=tuple(
                ShownClass(self.ids[name], name, prompt, name == background)
                for name, prompt in zip(names, prompts, strict=True)
            ),
            objects=(ShownObject(names[-1], 0.9, (width * 0.7, 60, width * 0.9, 150), 2.5),),
            times_ms={'decode': 2.0, 'segment': 61.0},
        )

    def settings(self):
        return dict(self.values)

    def class_ids(self):
        return {
            prompt.split('|')[0]: self.ids.get(prompt.split('|')[0], 0)
            for prompt in self.values['prompts']
        }

    def change(self, settings):
        new = {**self.values, **settings}
        texts = [*new['prompts'], *new['negative_prompts']]
        if any('slow' in text for text in settings.get('prompts', ())):
            time.sleep(2)
        self.check(texts)
        for prompt in new['prompts']:
            self.ids.setdefault(prompt.split('|')[0], len(self.ids))
        self.values = new
        self.changed.notify()

    def check(self, texts):
        if any('forbidden' in text for text in texts):
            raise RefusedError("'forbidden' is a word that this node refuses", 'prompts')
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice:
            raise RefusedError(f'{twice!r} is given twice; names must be unique', 'prompts')

    def on_change(self, callback):
        return self.changed.add(callback)

    def status(self, camera):
        is_encoding = 'someone else' in self.values['prompts']
        return Status(0, '10.0 labels/s, 0.1 s old', (('device', 'none: a fake'),), is_encoding)

    def probabilities(self, camera, x, y):
        names = [prompt.split('|')[0] for prompt in self.values['prompts']]
        first = min(int(x * len(names)), len(names) - 1)
        rest = [name for index, name in enumerate(names) if index != first]
        return [ClassProbability(names[first], 0.75), *(ClassProbability(n, 0.1) for n in rest)]

    def segment(self, image, prompts, background, min_confidence=None):
        self.check(list(prompts))
        return self.frame('', 0, prompts, background, image)

    def close(self):
        self.changed.close()


if __name__ == '__main__':
    from clip_dinoiser_ros.web import server

    parser = argparse.ArgumentParser()
    server.add_arguments(parser)
    server.serve(FakeSource(), parser.parse_args())
