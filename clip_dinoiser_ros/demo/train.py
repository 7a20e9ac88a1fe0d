"""Make the small demo model from nothing: a CLIP of 4.5 million parameters, and its two heads.

`train(out_dir, seed)` writes the files of `demo/model/`. It needs no data: the pictures are drawn
while it runs.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clip_dinoiser_ros.demo import objectives
from clip_dinoiser_ros.demo.dense import Heads, encode_dense, encode_texts, pool
from clip_dinoiser_ros.demo.samples import FULL, NEAR, PATCH, WIDE, Sample, View, stream
from clip_dinoiser_ros.demo.words import SEEN_CLASSES

NAME = 'clip-dinoiser-demo'
CONFIG = {
    'embed_dim': 128,
    'vision_cfg': {
        'image_size': 224,
        'layers': 6,
        'width': 192,
        'head_width': 64,
        'patch_size': PATCH,
    },
    'text_cfg': {
        'context_length': 77,
        'vocab_size': 49408,
        'width': 32,
        'heads': 2,
        'layers': 3,
    },
}
_AFFINITY_DIM = 64
_MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train; the shipped model was made with the defaults."""

    steps: int = 2700
    full_from: float = 0.6  # after this part of the steps, mostly pictures at full scale
    full_share: float = 0.7
    batch: int = 32  # of small pictures
    batch_full: int = 8
    fresh: int = 12  # new pictures per step; a picture is met batch / fresh times on average
    fresh_full: int = 4
    keep: int = 2048  # pictures kept to draw from
    keep_full: int = 512
    lr: float = 1e-3
    lr_matrix: float = 2e-3  # of Muon, for the matrices inside the blocks
    lr_objectness: float = 0.05  # its input has length one, so its weights must grow large
    weight_decay: float = 0.05
    warmup: int = 150
    pooled_from: int = 600  # pooling joins when the features mean something


def _plan_views(recipe: Recipe, rng: np.random.Generator) -> list[View]:
    """Draw which view each step looks through."""
    views = []
    for step in range(recipe.steps):
        late = step >= recipe.steps * recipe.full_from
        if late and rng.random() < recipe.full_share:
            views.append(FULL)
        else:
            views.append(NEAR if rng.random() < 0.5 else WIDE)
    return views


def _fresh(view: View, first: bool, recipe: Recipe) -> int:
    if first:
        return recipe.batch_full if view is FULL else recipe.batch
    return recipe.fresh_full if view is FULL else recipe.fresh


def batches(
    recipe: Recipe, views: list[View], seed: int, rng: np.random.Generator
) -> Iterator[list[Sample]]:
    """Yield a batch per step: new pictures join a pool, the oldest leave, the batch is drawn."""
    met: set[View] = set()
    counts = []
    for view in views:
        counts.append(_fresh(view, view not in met, recipe))
        met.add(view)
    order = [view for view, count in zip(views, counts, strict=True) for _ in range(count)]
    start = 1_000_000 * (seed + 1)  # scenes below a million are for evaluation
    samples = stream(list(zip(range(start, start + len(order)), order, strict=True)))
    pools: dict[View, list[Sample]] = {view: [] for view in met}
    for view, count in zip(views, counts, strict=True):
        pool_of_view = pools[view]
        pool_of_view.extend(next(samples) for _ in range(count))
        del pool_of_view[: -(recipe.keep_full if view is FULL else recipe.keep)]
        size = recipe.batch_full if view is FULL else recipe.batch
        chosen = rng.choice(len(pool_of_view), size, replace=False)
        yield [pool_of_view[index] for index in chosen]


def collate(samples: list[Sample], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return normalised images (B, 3, H, W) and shares (B, h * w, classes), some mirrored."""
    images, targets = [], []
    for sample in samples:
        image, shares = sample.image, sample.shares
        if rng.random() < 0.5:
            image, shares = image[:, ::-1], shares[:, :, ::-1]
        gain = np.float32(rng.uniform(0.85, 1.12) / 255)
        images.append(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) * gain)
        target = torch.zeros(shares[0].size, len(SEEN_CLASSES))
        target[:, sample.classes] = torch.from_numpy(shares.reshape(len(shares), -1).T.copy())
        targets.append(target)
    return (torch.stack(images).clamp(0, 1) - _MEAN) / _STD, torch.stack(targets)


def _losses(
    clip: nn.Module,
    heads: Heads,
    tokenize: Callable,
    samples: list[Sample],
    pooled: bool,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return the weighted losses of one batch."""
    images, target = collate(samples, rng)
    h, w = images.shape[-2] // PATCH, images.shape[-1] // PATCH
    few = len(samples) // 4
    phrases = objectives.draw_phrases(rng)
    captions = [objectives.caption(sample.classes, rng) for sample in samples[:few]]
    with torch.autocast('cpu', torch.bfloat16):
        features, inner, whole = encode_dense(clip.visual, images, few)
        text = encode_texts(clip, tokenize([*phrases, *captions]))
    text, caption_text = text[: len(phrases)], text[len(phrases) :]
    losses = objectives.word_losses(features, text, target, rng)
    losses['whole'] = 0.1 * objectives.contrastive_loss(whole, caption_text)
    losses['kind'] = 0.5 * losses['kind']
    losses['background'] = 0.5 * losses['background']
    losses['objectness'] = 0.3 * objectives.objectness_loss(heads.objectness(inner, h, w), target)
    affinity = heads.affinity(inner[:few], h, w)
    losses['affinity'] = 0.5 * objectives.affinity_loss(affinity, target[:few])
    if pooled:
        again = pool(features[:few], affinity, objectives.GAMMA)
        logits = objectives.SCALE * again @ text[objectives.CLASS_ROWS].T
        losses['pooled'] = 0.5 * objectives.cross_entropy(
            logits, target[:few], objectives.busy(target[:few])
        )
    return losses


def _optimizers(clip: nn.Module, heads: Heads, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the image blocks and AdamW for the rest."""
    matrices = [p for p in clip.visual.transformer.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in clip.parameters() if p.requires_grad and id(p) not in inside]
    groups = [
        {'params': [p for p in rest if p.ndim > 1], 'weight_decay': recipe.weight_decay},
        {'params': [p for p in rest if p.ndim <= 1], 'weight_decay': 0.0},
        {'params': heads.obj_proj.parameters(), 'weight_decay': 0.0},
        {
            'params': heads.bkg_decoder.parameters(),
            'weight_decay': 0.0,
            'lr': recipe.lr_objectness,
        },
    ]
    return [
        torch.optim.Muon(
            matrices,
            lr=recipe.lr_matrix,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn='match_rms_adamw',
        ),
        torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98)),
    ]


def _rate(step: int, steps: int, warmup: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


def new_model() -> nn.Module:
    """Return an untrained CLIP of the demo's shape."""
    return open_clip.CLIP(**CONFIG, output_dict=False)


def train(
    out_dir: Path | str,
    seed: int = 0,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] = print,
) -> None:
    """Train the demo model and write it.

    Args:
        out_dir: Folder for the files; made when missing.
        seed: Decides the pictures, their order and the first weights.
        recipe: How long and how hard; the default makes the shipped model.
        progress: Takes a line of text now and then.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    clip, heads = new_model(), Heads(CONFIG['vision_cfg']['width'], _AFFINITY_DIM)
    tokenize = open_clip.SimpleTokenizer()
    views = _plan_views(recipe, rng)
    stock = batches(recipe, views, seed, rng)
    began = time.monotonic()

    def say(step: int, steps: int, losses: dict[str, float]) -> None:
        left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
        told = ' '.join(f'{name} {value:.3f}' for name, value in losses.items())
        progress(f'step {step + 1}/{steps}, {left / 60:.0f} min left: {told}')

    optimizers = _optimizers(clip, heads, recipe)
    bases = [[group['lr'] for group in optimizer.param_groups] for optimizer in optimizers]
    for step in range(recipe.steps):
        factor = _rate(step, recipe.steps, recipe.warmup)
        for optimizer, rates in zip(optimizers, bases, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group['lr'] = rate * factor
        losses = _losses(clip, heads, tokenize, next(stock), step >= recipe.pooled_from, rng)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == recipe.steps - 1:
            say(step, recipe.steps, {name: value.item() for name, value in losses.items()})
        if step % 500 == 499:
            save(out_dir, clip, heads, seed, recipe)
    save(out_dir, clip, heads, seed, recipe)


def save(
    out_dir: Path | str, clip: nn.Module, heads: Heads, seed: int, recipe: Recipe
) -> None:
    """Write the config, the CLIP in half precision, the heads, and how they were made."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{NAME}.json').write_text(json.dumps(CONFIG, indent=2) + '\n')
    weights = {key: value.half().contiguous() for key, value in clip.state_dict().items()}
    save_file(weights, folder / f'{NAME}.safetensors')
    save_file({k: v.contiguous() for k, v in heads.state_dict().items()}, folder / 'heads.safetensors')
    made = {'seed': seed, 'recipe': asdict(recipe)}
    (folder / 'training.json').write_text(json.dumps(made, indent=2) + '\n')
