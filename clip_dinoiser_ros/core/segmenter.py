# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""RGB images and a vocabulary in, labels and confidence out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core import dinoiser, edges_triton, engines, weights
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.edges import Edges, check_edges, refine
from clip_dinoiser_ros.core.embedding_cache import default_folder
from clip_dinoiser_ros.core.engines import Engine
from clip_dinoiser_ros.core.engines.intel import check_intel, is_intel
from clip_dinoiser_ros.core.feature_space import PROBE, FeatureSpace, shorter_space
from clip_dinoiser_ros.core.graphs import GraphRunner
from clip_dinoiser_ros.core.memory import free_memory
from clip_dinoiser_ros.core.methods import Method, check_method
from clip_dinoiser_ros.core.pipeline import Answer, Pipeline, Pooled, Query
from clip_dinoiser_ros.core.preprocess import Preprocess
from clip_dinoiser_ros.core.segmentation import Patches, PatchFeatures, Segmentation, enlarge_all
from clip_dinoiser_ros.core.sources import AUTHORS
from clip_dinoiser_ros.core.vocabulary import TextEncoder, Vocabulary

Precision = Literal['auto', 'fp32', 'bf16', 'fp16', 'int8']
RgbImage = npt.NDArray[np.uint8]

MAX_PIXELS = 64 * 2**20
WARM_UP_SIZES = ((480, 640), (720, 1280))  # (H, W); the two aspect ratios of most cameras
MAX_PATCHES = 16384  # their affinity takes 1 GiB
DEVICES = 'auto, cpu, cuda, cuda:N, intel-gpu, intel-npu'
DTYPES = {
    'fp32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
    'int8': torch.float32,
}


class Segmenter:
    """CLIP-DINOiser: segments images by any vocabulary in one pass of the image tower.

    Args:
        clip: OpenCLIP model with a ViT image tower. It is modified: moved to the device, its image
            tower converted to the precision, and its text tower to float16 unless the precision is
            fp32.
        heads: `obj_proj.weight/bias` and `bkg_decoder.weight/bias`; see `load_heads`.
        tokenizer: `open_clip.get_tokenizer(...)` of that model.
        device: 'auto' (CUDA if available), 'cpu', 'cuda', 'cuda:1', ...; 'intel-gpu' or
            'intel-npu': the image tower runs there, by OpenVINO.
        precision: Of the image tower and the heads. 'auto': the fastest that the device supports in
            hardware. Norms, cosines and softmax are always float32. 'int8': the image tower of
            `quantized`, by OpenVINO; the heads in float32.
        short_side: Images are resized to this short side in pixels, both sides rounded to
            multiples of the patch; None: keep the size and pad with black to such multiples.
        cache: Folder for text embeddings; None: in memory only.
        pack: On a CPU, rearrange the image tower's weights for speed; see `Backbone.pack`.
        engine: Of the image tower. 'torch'; 'openvino': on a CPU, an Intel GPU or NPU;
            'auto': OpenVINO on the devices of Intel, for int8, and for bf16 on a CPU that has it if
            OpenVINO is installed; else torch.
        method: 'dinoiser'. For comparison: 'maskclip' without pooling, 'maskclip-keys' with
            MaskCLIP's own refinement, on torch only.
        quantized: Folder that `clip-dinoiser quantize` wrote, for precision int8.

    Attributes:
        gamma: Default threshold of the guided pooling: that of the paper, or of the model that
            `load` has loaded.
        space: In which features and text vectors are published.

    Raises:
        ValueError: Unknown device, precision, engine or method, short side below one patch,
            unusable model.
        WeightsError: Heads or a quantized tower that do not fit.
    """

    def __init__(
        self,
        clip: nn.Module,
        heads: Mapping[str, Tensor],
        tokenizer: Callable[..., Tensor],
        device: str = 'cpu',
        precision: Precision = 'fp32',
        short_side: int | None = None,
        cache: Path | None = None,
        pack: bool = True,
        engine: Engine = 'torch',
        method: Method = 'dinoiser',
        quantized: str | Path | None = None,
    ) -> None:
        keys = check_method(method)
        self.device = find_device(device)
        intel = is_intel(device)
        self.precision = find_precision(
            'fp16' if intel and precision == 'auto' else precision, self.device
        )
        dtype = torch.float32 if intel else DTYPES[self.precision]  # of the work that torch does
        place = device if intel else str(self.device)
        chosen = _engine_for(method, engine, place, self.precision)
        check_quantized(self.precision, quantized)
        cuda = self.device.type == 'cuda'
        half = self.precision != 'fp32'
        self._text = TextEncoder(clip, tokenizer, cache, half)  # before it leaves the CPU
        visual: Any = clip.to(self.device).visual
        backbone = Backbone(visual, keys)
        convolutions = dinoiser.Heads(weights.check_heads(heads, backbone.width))
        self.patch_size = backbone.patch_size
        if short_side is not None and short_side < self.patch_size:
            least = self.patch_size
            raise ValueError(f'short_side is {short_side}; must be at least {least} or None')
        self.short_side = short_side
        self.known_words: frozenset[str] | None = None  # None: all that CLIP was trained on
        self.gamma = dinoiser.GAMMA
        self.space = FeatureSpace(self._text.digest)
        folder = Path(quantized) if quantized else None
        tower = engines.make_tower(chosen, visual, place, self.precision, dtype, folder)
        self.engine: Engine = 'torch' if tower is None else 'openvino'
        preprocess = Preprocess(
            self.patch_size,
            short_side,
            getattr(visual, 'preprocess_cfg', {}),
            self.device,
            dtype if tower is None else torch.float32,
        )
        if tower is None:
            backbone.to(dtype)
            if pack and self.device.type == 'cpu':
                backbone.pack()
        self.pipeline = Pipeline(
            preprocess, tower or backbone, convolutions.to(self.device, dtype), method
        )
        self._run = GraphRunner(self.pipeline, self.device) if cuda else self.pipeline

    @classmethod
    def load(
        cls,
        model: str = 'ViT-B-16',
        pretrained: str = 'laion2b_s34b_b88k',
        heads: str | Path = AUTHORS,
        device: str = 'auto',
        precision: Precision = 'auto',
        short_side: int | None = 448,
        pack: bool = True,
        engine: Engine = 'auto',
        method: Method = 'dinoiser',
        quantized: str | Path | None = None,
    ) -> Segmenter:
        """Load the weights and make a segmenter; see `load_frozen`, `load_heads` and the class.

        Text embeddings are stored in `embedding_cache.default_folder()`.

        `model='demo'` loads the small model of this package and ignores `pretrained` and `heads`.
        It knows only a few words, see `unknown_words`, and has a `gamma` of its own.
        """
        # refuse bad names before loading
        found = find_device(device)
        find_precision(precision, found)
        check_quantized(precision, quantized)
        place = device if is_intel(device) else str(found)
        engine = _engine_for(method, engine, place, precision)
        files = {'model': model, 'pretrained': pretrained, 'heads': str(heads)}
        if model == weights.DEMO:
            files = weights.demo_files()
        clip, tokenizer = weights.load_frozen(files['model'], files['pretrained'])
        tensors = weights.load_heads(files['heads'])
        cache = default_folder()
        segmenter = cls(
            clip,
            tensors,
            tokenizer,
            device,
            precision,
            short_side,
            cache,
            pack,
            engine,
            method,
            quantized,
        )
        if model == weights.DEMO:
            segmenter.known_words = weights.demo_words()
            segmenter.gamma = weights.default_gamma(model)
        return segmenter

    def encode(
        self,
        prompts: Sequence[str],
        background: str | None = 'background',
        templates: str = 'imagenet',
    ) -> Vocabulary:
        """Turn prompts into a vocabulary; prompts encoded before are cached.

        Args:
            prompts: One text per class, at most 1000; 'a|b|c' are synonyms of the class 'a', whose
                embedding is the mean of theirs.
            background: Name of the class that receives the background filter, at any place among
                the prompts. None, or a name that is not a prompt: no filter.
            templates: 'imagenet' (80 sentences), 'simple' (7), 'none' (the prompt as it is), or the
                .json file that `clip-dinoiser adapt` has written.

        Raises:
            PromptError: A prompt that cannot be used; which one and why.
        """
        return self._text.encode(prompts, background, templates)

    def encode_each(self, prompts: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Encode prompts in each template by itself; see `TextEncoder.encode_each`."""
        return self._text.encode_each(prompts, templates)

    @property
    def text_digest(self) -> str:
        """SHA-256 of the text tower, in hexadecimal: vectors of equal digests can be compared."""
        return self._text.digest

    def shorten_features(self, pca: str | Path, dimension: int) -> None:
        """Publish features and text vectors in fewer dimensions.

        Args:
            pca: File that `clip-dinoiser adapt --pca` wrote; empty: none.
            dimension: Numbers in a vector; 0: as many as the model has.

        Raises:
            FeatureSpaceError: A file or a dimension that cannot be used.
        """
        if pca or dimension:
            self.space = shorter_space(self.text_digest, self.probe(), pca, dimension)

    def probe(self) -> Tensor:
        """Return the vector of `feature_space.PROBE`, float32 (C,): it tells models apart."""
        return self.encode([PROBE], None, 'none').embeddings[0]

    def missing(self, prompts: Sequence[str], templates: str = 'imagenet') -> list[str]:
        """Return the prompts, synonyms one by one, that `encode` has not encoded yet.

        They may be encoded in parts, each a list of prompts. After that, `encode` of the whole list
        takes everything from the cache.

        Raises:
            PromptError: A prompt that cannot be used; which one and why.
        """
        return self._text.missing(prompts, templates)

    def unknown_words(self, vocabulary: Vocabulary) -> list[str]:
        """Return the words of the prompts that the demo model was not trained on; else none."""
        if self.known_words is None:
            return []
        texts = ' '.join(prompt.text.lower() for prompt in vocabulary.prompts)
        return sorted(set(re.findall(r"[\w'-]+", texts)) - self.known_words)

    @torch.inference_mode()
    def warm_up(
        self, vocabulary: Vocabulary, gamma: float | None = None, delta: float = dinoiser.DELTA
    ) -> None:
        """Run blank images so that the first real image need not wait. No-op on a CPU.

        The blank images have `WARM_UP_SIZES` and go through every stage. Libraries are loaded,
        memory is allocated, the kernels are compiled, and the CUDA graphs for one image of either
        shape are captured. The graph for another shape, or for several images at once, is captured
        when it occurs for the second time. Prompts and thresholds do not affect the graphs.

        Args:
            vocabulary: From `encode`.
            gamma: As for `segment`.
            delta: As for `segment`.

        Raises:
            RuntimeError: The device failed; torch.OutOfMemoryError if memory is too small.
        """
        if not isinstance(self._run, GraphRunner):
            return
        edges_triton.usable(self.device)  # compiled now, not when edges is switched on
        for size in WARM_UP_SIZES:
            blank = np.zeros((*size, 3), np.uint8)
            for _ in range(2):  # a graph is captured the second time
                for patches in self.segment_patches([blank], vocabulary, gamma, delta):
                    _ = patches.enlarge(size, mono8=True).confidence  # both confidence outputs

    def free_memory(self) -> None:
        """Free CUDA graphs and the memory that torch and glibc hold in reserve."""
        if isinstance(self._run, GraphRunner):
            self._run.release()
        free_memory()

    @overload
    def segment(
        self,
        image: RgbImage,
        vocabulary: Vocabulary,
        gamma: float | None = ...,
        delta: float = ...,
        edges: Edges = ...,
    ) -> Segmentation: ...

    @overload
    def segment(
        self,
        image: Sequence[RgbImage],
        vocabulary: Vocabulary,
        gamma: float | None = ...,
        delta: float = ...,
        edges: Edges = ...,
    ) -> list[Segmentation]: ...

    @torch.inference_mode()
    def segment(
        self,
        image: RgbImage | Sequence[RgbImage],
        vocabulary: Vocabulary,
        gamma: float | None = None,
        delta: float = dinoiser.DELTA,
        edges: Edges = 'off',
    ) -> Segmentation | list[Segmentation]:
        """Find the class of every pixel.

        Args:
            image: uint8 (H, W, 3) RGB, or a list of such images of one size, which go through the
                model as one batch.
            vocabulary: From `encode`.
            gamma: Threshold on the affinities of the guided pooling, in [0, 0.99]; None: that of
                the model, `self.gamma`.
            delta: Probability below which the background filter may apply, in [0, 1].
            edges: Sharpen the labels along the edges of the image: 'off', 'fast' or 'fine'.

        Returns:
            A Segmentation at the size of the image, or a list of them for a list.

        Raises:
            ValueError: An image of a type or size, or a setting, that is not allowed; the message
                says what was given.
        """
        check_edges(edges)
        images = [image] if isinstance(image, np.ndarray) else list(image)
        found = self.segment_patches(images, vocabulary, gamma, delta)
        patches = [refine(one, own, edges) for one, own in zip(found, images, strict=True)]
        results = enlarge_all(patches, images[0].shape[:2]) if images else []
        return results[0] if isinstance(image, np.ndarray) else results

    @torch.inference_mode()
    def patch_probabilities(
        self,
        image: RgbImage,
        vocabulary: Vocabulary,
        gamma: float | None = None,
        delta: float = dinoiser.DELTA,
    ) -> npt.NDArray[np.float32]:
        """Return the probability of every class in every patch, before enlarging.

        Arguments as for `segment`, one image only.

        Returns:
            float32 (K, h, w). As in the published code, the background filter sets its class to 1.0
            where it applies and leaves the other classes as they are.
        """
        patches = self.segment_patches([image], vocabulary, gamma, delta)
        return patches[0].probabilities.cpu().numpy()

    @torch.inference_mode()
    def segment_patches(
        self,
        images: Sequence[RgbImage],
        vocabulary: Vocabulary,
        gamma: float | None = None,
        delta: float = dinoiser.DELTA,
        with_features: bool = False,
    ) -> list[Patches]:
        """Segment images of one size as one batch, at patch resolution.

        Arguments and errors as for `segment`, which adds `edges.refine` and `Patches.enlarge`.
        `with_features` adds `Patches.features`.
        """
        if not images:
            return []
        gamma = self.gamma if gamma is None else gamma
        check_thresholds(gamma, delta)
        for image in images:
            self._check_image(image)
        if len({image.shape for image in images}) > 1:
            shapes = ', '.join(f'{image.shape[1]}x{image.shape[0]}' for image in images)
            raise ValueError(f'images of one batch must have one size, got {shapes}')
        height, width = images[0].shape[:2]
        embeddings = vocabulary.embeddings.to(self.device)
        query = Query(embeddings, vocabulary.background, gamma, delta, with_features)
        preprocess = self.pipeline.preprocess
        extent = preprocess.extent(height, width)
        return [
            Patches(*found, extent, vocabulary, features)
            for part in self.pipeline.parts(preprocess.upload(images))
            for found, features in self._results(self._run(part, query), extent)
        ]

    def _results(
        self, answer: Answer, extent: tuple[float, float]
    ) -> Iterator[tuple[tuple[Tensor, Tensor | None], PatchFeatures | None]]:
        """Yield what was found in each image, and its features if they were requested."""
        if answer.features is None or answer.objectness is None:
            yield from ((found, None) for found in answer.images())
            return
        for found, vectors, objectness in zip(
            answer.images(), answer.features, answer.objectness, strict=True
        ):
            yield found, PatchFeatures(vectors, objectness, extent, self.space)

    @torch.inference_mode()
    def compare(self, features: PatchFeatures, vocabulary: Vocabulary) -> Patches:
        """Find the classes of an image that was segmented before, by other prompts.

        The image tower does not run. The background filter is off.

        Args:
            features: From `segment_patches` with `with_features`.
            vocabulary: From `encode`.
        """
        pooled = Pooled(features.vectors[None].float(), None)
        query = Query(vocabulary.embeddings.to(self.device), None, 0.0, 0.0)
        ((probabilities, _),) = self.pipeline.compare(pooled, query).images()
        without = replace(vocabulary, background=None)
        return Patches(probabilities, None, features.extent, without, features)

    @torch.inference_mode()
    def pooled_features(self, image: RgbImage, gamma: float | None = None) -> Tensor:
        """Return what the classes of an image are found from, whatever they are.

        Arguments and errors as for `segment`.

        Returns:
            float32 (1, C, h, w), on the device.
        """
        gamma = self.gamma if gamma is None else gamma
        check_thresholds(gamma, dinoiser.DELTA)
        self._check_image(image)
        pixels = self.pipeline.preprocess.upload([image])
        features = self.pipeline.backbone(self.pipeline.preprocess(pixels))
        return self.pipeline.pool(features, gamma, with_objectness=False).features

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid of patches (h, w) of an image of this size."""
        return self.pipeline.preprocess.grid(height, width)

    def _check_image(self, image: RgbImage) -> None:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            got = getattr(image, 'dtype', type(image).__name__)
            raise ValueError(f'image must be a numpy array of uint8, got {got}')
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'image must have the shape (H, W, 3), got {image.shape}')
        height, width = image.shape[:2]
        p = self.patch_size
        if min(height, width) < p or height * width > MAX_PIXELS:
            raise ValueError(
                f'image is {width}x{height}; must be at least {p}x{p} and at most '
                f'{MAX_PIXELS} pixels'
            )
        h, w = self.grid(height, width)
        if h * w > MAX_PATCHES:
            raise ValueError(
                f'image is {width}x{height}, which gives {h * w} patches with '
                f'short_side={self.short_side}; at most {MAX_PATCHES} are allowed'
            )


def _engine_for(
    method: Method, engine: Engine, device: str, precision: Precision
) -> Literal['torch', 'openvino']:
    """Choose the engine as `engines.find_engine` does; only torch can return keys."""
    if check_method(method) is None:
        return engines.find_engine(engine, device, precision)
    if engine == 'openvino' or is_intel(device) or precision == 'int8':
        raise ValueError(f'method is {method!r}; it needs engine torch on cpu or cuda')
    return engines.find_engine('torch', device)


def check_quantized(precision: Precision, quantized: str | Path | None) -> None:
    """Raise ValueError if only one of int8 and its folder is given."""
    if precision == 'int8' and not quantized:
        raise ValueError(
            'precision is int8 but quantized is not set; give the folder that '
            '`clip-dinoiser quantize` wrote'
        )
    if quantized and precision != 'int8':
        raise ValueError(
            f'quantized is {str(quantized)!r} but precision is {precision}; it must be int8'
        )


def check_thresholds(gamma: float, delta: float) -> None:
    """Raise ValueError if a threshold of the method is out of range."""
    if not 0.0 <= gamma <= 0.99:
        raise ValueError(f'gamma is {gamma}; must be between 0 and 0.99')
    if not 0.0 <= delta <= 1.0:
        raise ValueError(f'delta is {delta}; must be between 0 and 1')


def find_device(device: str) -> torch.device:
    """Choose the device: 'auto' is CUDA if available, else the CPU.

    A CUDA device is returned with its index.

    Raises:
        ValueError: No such device; the message names the allowed ones.
    """
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if is_intel(device):
        check_intel(device)
        return torch.device('cpu')
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device {device!r} is not known; allowed: {DEVICES}') from error
    if found.type not in ('cpu', 'cuda'):
        raise ValueError(f'device {device!r} is not supported; allowed: {DEVICES}')
    if found.type == 'cpu':
        return found
    count = torch.cuda.device_count()
    if (found.index or 0) >= count:
        raise ValueError(f'device {device!r} does not exist; torch sees {count} CUDA devices')
    # each thread may have another current device
    return torch.device('cuda', torch.cuda.current_device() if found.index is None else found.index)


def find_precision(
    precision: Precision, device: torch.device
) -> Literal['fp32', 'bf16', 'fp16', 'int8']:
    """Choose the precision: 'auto' is bf16 in hardware, fp16 on GPUs since Volta, else fp32.

    Raises:
        ValueError: Unknown precision.
    """
    if precision == 'auto':
        if device.type == 'cuda':
            capability = torch.cuda.get_device_capability(device)
            # before Volta, most GPUs compute fp16 far slower than fp32
            return 'bf16' if capability >= (8, 0) else 'fp16' if capability >= (7, 0) else 'fp32'
        return 'bf16' if engines.cpu_has_bf16() else 'fp32'
    if precision not in DTYPES:
        raise ValueError(f'precision is {precision!r}; allowed: auto, {", ".join(DTYPES)}')
    return precision
