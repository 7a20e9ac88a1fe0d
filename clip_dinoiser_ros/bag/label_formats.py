# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files of labels for annotators and for training: mmseg, voc, cvat, coco and label-studio.

Masks are encoded by the libraries of the formats.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_dinoiser_ros.bag.recording import BagError
from clip_dinoiser_ros.frames.overlay import colour

UNLABELLED = 255
MAX_CLASSES = 254  # of label images of one byte: 0 may be taken, 255 is
BACKGROUND = 'background'
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
MODEL_VERSION = 'clip_dinoiser'
_NEEDED = {'coco': 'pycocotools', 'label-studio': 'label_studio_sdk'}


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one image.

    Attributes:
        index: uint16 (H, W), index of the class of each pixel; any where unlabelled.
        labelled: bool (H, W).
        confidence: float32 (H, W) in [0, 1]; None: unknown.
    """

    index: npt.NDArray[np.uint16]
    labelled: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float32] | None

    def masks(self) -> Iterator[tuple[int, npt.NDArray[np.bool_], float | None]]:
        """Iterate over the classes in the image: index, mask (H, W), mean confidence."""
        for index in np.unique(self.index[self.labelled]).tolist():
            mask = (self.index == index) & self.labelled
            score = None if self.confidence is None else float(self.confidence[mask].mean())
            yield index, mask, score

    def as_ids(self, ids: Sequence[int], unlabelled: int) -> npt.NDArray[np.uint8]:
        """Return pixels (H, W): the id of each class."""
        known = np.where(self.labelled, self.index, 0)
        return np.where(self.labelled, np.array(ids, np.uint8)[known], np.uint8(unlabelled))


class LabelFormat(Protocol):
    """Writes one format into a folder.

    Attributes:
        images: Subfolder for the images; `{split}` stands for the split.
    """

    images: str

    def add(self, split: str, image: str, labels: Labels) -> None:
        """Write the labels of an image, given by its file name."""

    def finish(self) -> None:
        """Write what is written once."""


def open_format(name: str, folder: Path, names: Sequence[str], root: str) -> LabelFormat:
    """Return the writer of a format.

    Args:
        name: Of `FORMATS`.
        folder: To write to; need not exist yet.
        names: Of the classes.
        root: Name of the folder once it is complete.

    Raises:
        BagError: A package is missing, or a class cannot be written in this format.
    """
    module = _NEEDED.get(name)
    if module is not None:
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = module.replace('_', '-')
            raise BagError(f'--format {name} needs {package}: pip install {package}') from error
    elif len(names) > MAX_CLASSES:
        raise BagError(f'--format {name}: {len(names)} classes; at most {MAX_CLASSES} are allowed')
    if name in ('voc', 'cvat'):
        for text in names:
            if ':' in text or text.startswith('#'):
                raise BagError(
                    f"--format {name}: the class {text!r} cannot stand in labelmap.txt: no ':', no "
                    "'#' at the start; coco, mmseg and label-studio take it"
                )
    return FORMATS[name](folder, names, root)


class Mmseg:
    """Folders of mmsegmentation's BaseSegDataset: a pixel is the index of its class, or 255."""

    images = 'images/{split}'

    def __init__(self, folder: Path, names: Sequence[str], root: str) -> None:
        self._folder, self._names = folder, names

    def add(self, split: str, image: str, labels: Labels) -> None:
        """See `LabelFormat`."""
        pixels = labels.as_ids(range(len(self._names)), UNLABELLED)
        path = self._folder / 'annotations' / split / f'{Path(image).stem}.png'
        _palette_image(pixels, [colour(i) for i in range(len(self._names))], BLACK).save(_in(path))

    def finish(self) -> None:
        """See `LabelFormat`."""
        (self._folder / 'classes.txt').write_text(''.join(f'{n}\n' for n in self._names), 'utf-8')
        with (self._folder / 'classes.csv').open('w', newline='', encoding='utf-8') as file:
            rows = csv.writer(file)  # for `clip-dinoiser evaluate folder`
            rows.writerow(('id', 'prompt'))
            rows.writerows(enumerate(self._names))


class Voc:
    """Folders of Pascal VOC: a pixel is 0 for the background, 255 if unlabelled."""

    images = 'JPEGImages'
    unlabelled = UNLABELLED

    def __init__(self, folder: Path, names: Sequence[str], root: str) -> None:
        self._folder = folder
        self._splits: dict[str, list[str]] = {}
        others = [name for name in names if name != BACKGROUND]
        numbers = {name: number for number, name in enumerate([BACKGROUND, *others])}
        self._ids = [numbers[name] for name in names]
        self._colours = {BACKGROUND: BLACK} | {n: colour(numbers[n] - 1) for n in others}

    def add(self, split: str, image: str, labels: Labels) -> None:
        """See `LabelFormat`."""
        self._splits.setdefault(split, []).append(Path(image).stem)
        pixels = labels.as_ids(self._ids, self.unlabelled)
        path = self._folder / 'SegmentationClass' / f'{Path(image).stem}.png'
        _palette_image(pixels, list(self._colours.values()), WHITE).save(_in(path))

    def finish(self) -> None:
        """See `LabelFormat`."""
        lines = ['# label:color_rgb:parts:actions']
        lines += [f'{name}:{",".join(map(str, rgb))}::' for name, rgb in self._colours.items()]
        (self._folder / 'labelmap.txt').write_text('\n'.join(lines) + '\n', 'utf-8')
        for split, stems in self._splits.items():
            path = self._folder / 'ImageSets' / 'Segmentation' / f'{split}.txt'
            _in(path).write_text(''.join(f'{stem}\n' for stem in stems), 'utf-8')


class Cvat(Voc):
    """CVAT's segmentation mask 1.1: VOC in which unlabelled pixels are background; see `pack`."""

    unlabelled = 0


class Coco:
    """COCO: for each image and class an annotation whose mask is an RLE of pycocotools."""

    images = 'images/{split}'

    def __init__(self, folder: Path, names: Sequence[str], root: str) -> None:
        self._folder, self._names = folder, names
        self._splits: dict[str, dict[str, list[Any]]] = {}

    def add(self, split: str, image: str, labels: Labels) -> None:
        """See `LabelFormat`."""
        from pycocotools import mask as coco_mask

        content = self._splits.setdefault(split, {'images': [], 'annotations': []})
        height, width = labels.index.shape
        number = len(content['images']) + 1
        content['images'].append(
            {'id': number, 'file_name': image, 'height': height, 'width': width}
        )
        for index, mask, score in labels.masks():
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotation = {
                'id': len(content['annotations']) + 1,
                'image_id': number,
                'category_id': index + 1,
                'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode('ascii')},
                'area': int(coco_mask.area(rle)),
                'bbox': coco_mask.toBbox(rle).tolist(),
                'iscrowd': 0,
            }
            content['annotations'].append(annotation | ({} if score is None else {'score': score}))

    def finish(self) -> None:
        """See `LabelFormat`."""
        categories = [{'id': i, 'name': name} for i, name in enumerate(self._names, 1)]
        for split, content in self._splits.items():
            path = self._folder / 'annotations' / f'instances_{split}.json'
            text = json.dumps({**content, 'categories': categories}, ensure_ascii=False)
            _in(path).write_text(text + '\n', 'utf-8')


class LabelStudio:
    """Tasks of Label Studio with brush masks as predictions, and the labelling configuration."""

    images = 'images/{split}'

    def __init__(self, folder: Path, names: Sequence[str], root: str) -> None:
        self._folder, self._names, self._root = folder, names, root
        self._begun: set[str] = set()

    def add(self, split: str, image: str, labels: Labels) -> None:
        """See `LabelFormat`; a task is written at once, because its lists of numbers are long."""
        results, scores = [], []
        for index, mask, score in labels.masks():
            results.append(self._result(index, mask))
            scores += [] if score is None else [score * np.count_nonzero(mask)]
        prediction: dict[str, Any] = {'model_version': MODEL_VERSION, 'result': results}
        if scores:
            prediction['score'] = sum(scores) / np.count_nonzero(labels.labelled)
        url = f'/data/local-files/?d={self._root}/{self.images.format(split=split)}/{image}'
        task = {'data': {'image': url}, 'predictions': [prediction]}
        with self._tasks(split).open('a', encoding='utf-8') as file:
            file.write((',\n' if split in self._begun else '[\n') + json.dumps(task))
        self._begun.add(split)

    def _tasks(self, split: str) -> Path:
        return self._folder / f'tasks_{split}.json'

    def _result(self, index: int, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
        from label_studio_sdk.converter import brush

        height, width = mask.shape
        rle = brush.mask2rle(mask.astype(np.uint8) * 255)
        return {
            'id': f'class{index}',
            'type': 'brushlabels',
            'from_name': 'labels',
            'to_name': 'image',
            'original_width': width,
            'original_height': height,
            'image_rotation': 0,
            'value': {'format': 'rle', 'rle': rle, 'brushlabels': [self._names[index]]},
        }

    def finish(self) -> None:
        """See `LabelFormat`."""
        for split in self._begun:
            with self._tasks(split).open('a', encoding='utf-8') as file:
                file.write('\n]\n')
        labels = ''.join(
            f'    <Label value={quoteattr(name)} background="#{bytes(colour(i)).hex()}"/>\n'
            for i, name in enumerate(self._names)
        )
        (self._folder / 'labeling_config.xml').write_text(
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="labels" toName="image">\n{labels}  </BrushLabels>\n</View>\n',
            'utf-8',
        )


FORMATS: dict[str, Any] = {
    'cvat': Cvat,
    'coco': Coco,
    'label-studio': LabelStudio,
    'mmseg': Mmseg,
    'voc': Voc,
}


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an image, uint8 (H, W, 3) RGB, as PNG or JPEG by the name of the file."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == '.jpg' else []
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    _in(path).write_bytes(data.tobytes())


def pack(folder: Path, path: Path) -> None:
    """Put the content of a folder into a zip file, the same bytes for the same content."""
    with zipfile.ZipFile(path, 'x') as archive:
        for file in sorted(folder.rglob('*')):
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                with file.open('rb') as source, archive.open(entry, 'w', force_zip64=True) as out:
                    shutil.copyfileobj(source, out)


def safe_name(text: str) -> str:
    """Return a text as part of a file name: letters, digits, dots, dashes and underscores."""
    return re.sub(r'[^\w.-]+', '_', text).strip('._') or 'labels'


def _palette_image(
    pixels: npt.NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
    last: tuple[int, int, int],
) -> Image.Image:
    image = Image.fromarray(pixels).convert('L')
    image.putpalette(bytes(np.array([*colours, *[BLACK] * (255 - len(colours)), last], np.uint8)))
    return image


def _in(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
