# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The image tower as an OpenVINO model: what `Backbone.forward` computes, operation by operation.

It is built from the weights in a tenth of a second. Nothing is traced or converted, so there is no
converted file to keep. Prompts and thresholds are no part of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Literal

import numpy as np
import openvino
import torch
from openvino import opset13 as op
from torch import Tensor, nn

from clip_dinoiser_ros.core.backbone import INNER_BLOCK, Backbone, DenseFeatures
from clip_dinoiser_ros.core.engines.choice import cpu_has_bf16

MAX_SIZES = 8  # compiled for one size each, where a device wants that; the longest unused goes
_HINTS = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16'}

Node = Any  # of OpenVINO's graph


class OpenVinoTower(Backbone):
    """Computes what a `Backbone` does, one image at a time.

    Args:
        visual: As for `Backbone`, on the CPU, in float32. Its weights are shared, not copied. Those
            of its linear layers become bfloat16 where the products are computed in bfloat16; its
            blocks are deleted if `model` replaces them.
        device: OpenVINO's name: CPU, GPU, NPU, ...
        precision: Of the arithmetic. A CPU without it in hardware computes in float32.
        dtype: Of `DenseFeatures.inner`.
        one_size: Compile for each size by itself, which an NPU needs; else once for all sizes.
        model: The tower in int8, from `load_quantized`; None: it is built.

    Raises:
        ValueError: The tower has a part that is not known here.
        RuntimeError: OpenVINO cannot compile it for the device.
    """

    def __init__(
        self,
        visual: Any,
        device: str = 'CPU',
        precision: Literal['fp32', 'bf16', 'fp16', 'int8'] = 'fp32',
        dtype: torch.dtype = torch.float32,
        one_size: bool | None = None,
        model: openvino.Model | None = None,
    ) -> None:
        super().__init__(visual)
        self._dtype = dtype
        self._device = device
        if model is not None:
            del visual.transformer  # replaced by the model; in float32 it has 330 MiB in ViT-B/16
        elif device == 'CPU' and precision == 'bf16' and cpu_has_bf16():
            _round_linear_layers(visual)
        self._model = model or build(visual)
        self._core = openvino.Core()
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if precision != 'int8':  # then OpenVINO chooses that of the rest: what the device has
            self._options['INFERENCE_PRECISION_HINT'] = _HINTS[precision]
        if device == 'CPU':
            self._options['INFERENCE_NUM_THREADS'] = torch.get_num_threads()
            self._options['ENABLE_CPU_PINNING'] = False  # else all processes use the first cores
        self._one_size = device.startswith('NPU') if one_size is None else one_size
        self._requests: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = threading.Lock()
        if not self._one_size:
            self._any_size = self._compile(self._model)

    def forward(self, images: Tensor) -> DenseFeatures:
        """Compute the dense features of one image.

        Args:
            images: float32 (1, 3, H, W) on the CPU, normalised, H and W multiples of the patch.

        Returns:
            Features on the CPU: `maskclip` in float32, `inner` in the dtype asked for.
        """
        h, w = (side // self.patch_size for side in images.shape[2:])
        positions = self.positions(h, w)[None]
        with self._lock:
            found = self._request(h, w).infer([images.numpy(), positions.numpy()])
        features = dense_features(found, h, w)
        return DenseFeatures(features.maskclip, features.inner.to(self._dtype))

    def _request(self, h: int, w: int) -> Any:
        if not self._one_size:
            return self._any_size
        if (h, w) not in self._requests:
            model = self._model.clone()
            p = self.patch_size
            model.reshape({0: [1, 3, h * p, w * p], 1: [1, 1 + h * w, self.width]})
            self._requests[h, w] = self._compile(model)
            if len(self._requests) > MAX_SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end((h, w))
        return self._requests[h, w]

    def _compile(self, model: openvino.Model) -> Any:
        return self._core.compile_model(model, self._device, self._options).create_infer_request()


@torch.no_grad()
def build(visual: Any) -> openvino.Model:
    """Build the graph of a tower that `Backbone` accepts, for one image of any size.

    Inputs are the image (1, 3, H, W) and the positional embedding (1, 1 + N, D) of its N patches;
    outputs the features (1, 1 + N, C) and the input of the heads (1, 1 + N, D), [CLS] first; all
    float32.

    Raises:
        ValueError: The tower has a part that is not known here.
    """
    p, d = visual.patch_size[0], visual.conv1.out_channels
    image = op.parameter([1, 3, -1, -1], np.float32, name='image')
    positions = op.parameter([1, -1, d], np.float32, name='positions')

    x = op.convolution(image, _constant(visual.conv1.weight), [p, p], [0, 0], [0, 0], [1, 1])
    if visual.conv1.bias is not None:
        x = op.add(x, _constant(visual.conv1.bias[None, :, None, None]))
    x = op.transpose(op.reshape(x, _integers(1, d, -1), False), _integers(0, 2, 1))  # (1, N, D)
    x = op.concat([_constant(visual.class_embedding[None, None]), x], 1)
    x = _layer(op.add(x, positions), visual.ln_pre)

    *blocks, last = visual.transformer.resblocks
    inner_index = len(blocks) + 1 + INNER_BLOCK
    for index, block in enumerate(blocks):
        x = op.add(x, _layer(_attention(block.attn, _layer(x, block.ln_1)), block.ls_1))
        y = _layer(x, block.ln_2)
        if index == inner_index:
            inner = y
        x = op.add(x, _layer(_layer(y, block.mlp), block.ls_2))

    attn = last.attn
    bias = None if attn.in_proj_bias is None else attn.in_proj_bias[2 * d :]
    v = _linear(_layer(x, last.ln_1), attn.in_proj_weight[2 * d :], bias)
    x = op.add(x, _layer(_layer(v, attn.out_proj), last.ls_1))
    x = op.add(x, _layer(_layer(_layer(x, last.ln_2), last.mlp), last.ls_2))
    features = op.matmul(_layer(x, visual.ln_post), _constant(visual.proj), False, False)
    outputs = [op.result(features), op.result(inner)]
    return openvino.Model(outputs, [image, positions], 'image tower')


def dense_features(outputs: Any, h: int, w: int) -> DenseFeatures:
    """Return the two outputs of a graph of `build` for (h, w) patches as `Backbone` does."""
    maskclip, inner = (
        torch.from_numpy(outputs[i])[:, 1:].transpose(1, 2).reshape(1, -1, h, w) for i in (0, 1)
    )
    return DenseFeatures(maskclip, inner)


def _attention(attn: nn.MultiheadAttention, x: Node) -> Node:
    """Multi-head self-attention, (1, N, D) -> (1, N, D)."""
    heads = attn.num_heads
    split_heads = _integers(0, 0, heads, attn.embed_dim // heads)
    qkv = _linear(x, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (
        op.transpose(op.reshape(part, split_heads, True), _integers(0, 2, 1, 3))
        for part in op.split(qkv, op.constant(np.int64(2)), 3).outputs()
    )  # (1, heads, N, d) each
    scale = op.constant(np.float32((attn.embed_dim // heads) ** -0.5))
    weights = op.softmax(op.matmul(op.multiply(q, scale), k, False, True), -1)
    out = op.transpose(op.matmul(weights, v, False, False), _integers(0, 2, 1, 3))
    return _layer(op.reshape(out, _integers(0, 0, -1), True), attn.out_proj)


def _layer(x: Node, layer: Any) -> Node:
    """Apply a module of the tower to (1, N, ...)."""
    if isinstance(layer, nn.Identity):
        return x
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x = _layer(x, part)
        return x
    if isinstance(layer, nn.Linear):
        return _linear(x, layer.weight, layer.bias)
    if isinstance(layer, nn.LayerNorm):
        x = op.mvn(x, _integers(-1), True, layer.eps, 'inside_sqrt')
        x = op.multiply(x, _constant(layer.weight[None, None]))
        return x if layer.bias is None else op.add(x, _constant(layer.bias[None, None]))
    if isinstance(layer, nn.GELU):
        return op.gelu(x, 'erf' if layer.approximate == 'none' else 'tanh')
    name = type(layer).__name__  # of OpenCLIP, whose import takes seconds
    if name == 'QuickGELU':
        return op.swish(x, op.constant(np.float32(1.702)))
    if name == 'LayerScale':
        return op.multiply(x, _constant(layer.gamma[None, None]))
    raise ValueError(f'the image tower has a layer {name}, which is not supported')


def _linear(x: Node, weight: Tensor, bias: Tensor | None) -> Node:
    product = op.matmul(x, _constant(weight), False, True)
    return product if bias is None else op.add(product, _constant(bias[None, None]))


def _constant(tensor: Tensor) -> Node:
    tensor = tensor.detach().contiguous()
    if tensor.dtype != torch.bfloat16:
        return op.constant(tensor.float().numpy(), shared_memory=True)
    bits = tensor.view(torch.int16).numpy()  # numpy has no bfloat16
    weights = openvino.Tensor(bits, list(tensor.shape), openvino.Type.bf16)
    wide = op.convert(op.constant(weights, shared_memory=True), np.float32)
    wide.get_rt_info()['decompression_0'] = True  # so OpenVINO does not fold it to float32
    return wide


def _round_linear_layers(visual: Any) -> None:
    """Round the weights of the blocks' linear layers to bfloat16, as OpenVINO does by itself.

    OpenVINO keeps the weights it was given beside those in its own order. In bfloat16 they take
    half the memory. They are contiguous, because OpenVINO reads them where they are.
    """
    for layer in visual.transformer.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = layer.weight.data.bfloat16().contiguous()
        elif isinstance(layer, nn.MultiheadAttention):
            layer.in_proj_weight.data = layer.in_proj_weight.data.bfloat16().contiguous()


def _integers(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))
