# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns prompts into a Vocabulary: the names of the classes and their unit text embeddings."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, cuda, nn

from clip_dinoiser_ros.core.embedding_cache import EmbeddingCache, fingerprint
from clip_dinoiser_ros.core.templates import Sentences, TemplateError, find_sentences
from clip_dinoiser_ros.core.text_tower import TextTower

MAX_CLASSES = 1000
MAX_PROMPT_CHARACTERS = 1000
MAX_CACHED_PROMPTS = 4096


class PromptError(ValueError):
    """A prompt cannot be used; the message names it and says what is allowed."""


@dataclass(frozen=True)
class Prompt:
    """One class as the user wrote it.

    Attributes:
        text: The whole prompt, trimmed, synonyms included: 'person|human'.
        synonyms: What is encoded, at least one: ('person', 'human').
    """

    text: str
    synonyms: tuple[str, ...]

    @property
    def name(self) -> str:
        """The class's name: its first synonym."""
        return self.synonyms[0]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The classes that a segmentation can assign.

    Attributes:
        prompts: One per class, in the order given.
        embeddings: float32 (K, C), unit rows: each the mean over templates and synonyms.
        background: Index of the class that receives the background filter; None: filter off.
        templates: Name or file of the sentences that contained the prompts.
    """

    prompts: tuple[Prompt, ...]
    embeddings: Tensor
    background: int | None
    templates: str

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; a label image holds indices into them."""
        return tuple(prompt.name for prompt in self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)


def parse_prompts(prompts: Sequence[str]) -> tuple[Prompt, ...]:
    """Check prompts and split them into synonyms.

    Texts are trimmed and converted to Unicode's normal form C. Names that differ only in case,
    spacing or Unicode compatibility count as equal, because CLIP reads them alike.

    Raises:
        PromptError: No prompt, too many, an empty or overlong one, a control character, or a name
            that occurs twice.
    """
    if isinstance(prompts, str):
        raise PromptError(f'prompts must be a list of strings, got the string {_show(prompts)}')
    if not prompts:
        raise PromptError('prompts is empty; give at least one class')
    if len(prompts) > MAX_CLASSES:
        raise PromptError(f'{len(prompts)} prompts given; at most {MAX_CLASSES} are allowed')
    parsed = tuple(_parse_prompt(prompt, index) for index, prompt in enumerate(prompts))
    seen: dict[str, str] = {}
    for prompt in parsed:
        for synonym in prompt.synonyms:
            key = ' '.join(unicodedata.normalize('NFKC', synonym).casefold().split())
            if key in seen:
                where = 'twice' if seen[key] == synonym else f'as {_show(seen[key])} too'
                raise PromptError(f'{_show(synonym)} is given {where}; names must be unique')
            seen[key] = synonym
    return parsed


def join_prompts(prompts: Sequence[str], negatives: Sequence[str]) -> list[str]:
    """Append negative prompts to prompts; together they form one vocabulary.

    Args:
        prompts: Of the classes that are looked for.
        negatives: Of classes that only compete with them; may be empty.

    Raises:
        PromptError: As of `parse_prompts`; a name that occurs in both.
    """
    joined = [*prompts, *negatives]
    if negatives:
        for which, texts in (('negative', negatives), ('positive and negative', joined)):
            try:
                parse_prompts(texts)
            except PromptError as error:
                raise PromptError(f'{which} prompts: {error}') from error
    return joined


def _parse_prompt(prompt: str, index: int) -> Prompt:
    if not isinstance(prompt, str):
        raise PromptError(f'prompt {index} must be a string, got {type(prompt).__name__}')
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PromptError(
            f'prompt {_show(prompt)} has {len(prompt)} characters; '
            f'at most {MAX_PROMPT_CHARACTERS} are allowed'
        )
    text = unicodedata.normalize('NFC', prompt).strip()
    for character in text:
        if unicodedata.category(character) in ('Cc', 'Cs', 'Zl', 'Zp'):
            raise PromptError(
                f'prompt {_show(prompt)} contains the control character U+{ord(character):04X}; '
                'only printable text is allowed'
            )
    synonyms = tuple(synonym.strip() for synonym in text.split('|'))
    if not all(_is_visible(synonym) for synonym in synonyms):
        what = 'an empty name' if len(synonyms) == 1 else 'an empty synonym'
        raise PromptError(f'prompt {index} ({_show(prompt)}) has {what}; every name needs a text')
    return Prompt(text='|'.join(synonyms), synonyms=synonyms)


def _is_visible(text: str) -> bool:
    """Return whether any character is visible, unlike spaces and format characters."""
    return any(unicodedata.category(character)[0] not in 'CZ' for character in text)


def _show(text: str) -> str:
    """Quote a text for an error message, shortened."""
    return repr(text if len(text) <= 60 else f'{text[:57]}...')


class TextEncoder:
    """Encodes prompts, every text once.

    Args:
        clip: OpenCLIP model.
        tokenizer: Its tokenizer, `open_clip.get_tokenizer(...)`.
        cache: Folder for embeddings; None: not stored on disk.
        half: Use float16; see `TextTower.halve`.

    Attributes:
        digest: SHA-256 of the text tower as it was given, in hexadecimal.
    """

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Callable[..., Tensor],
        cache: Path | None = None,
        half: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._tower = TextTower(clip, getattr(tokenizer, 'eot_token_id', -1))
        weights = fingerprint(clip)
        self.digest = weights.hex()
        if half:
            self._tower.halve()
            weights += b' in float16'
        self._limit: int = getattr(getattr(clip, 'text', clip), 'context_length', 77)
        self._known: dict[tuple[str, str], Tensor] = {}
        self._disk = EmbeddingCache(cache, weights) if cache is not None else None

    def encode(
        self,
        prompts: Sequence[str],
        background: str | None = 'background',
        templates: str = 'imagenet',
    ) -> Vocabulary:
        """Turn prompts into a Vocabulary; see `Segmenter.encode`."""
        parsed = parse_prompts(prompts)
        chosen = _sentences(templates)
        known = self._encode_missing([s for p in parsed for s in p.synonyms], chosen)
        rows = [
            torch.stack([known[synonym] for synonym in prompt.synonyms]).mean(0)
            for prompt in parsed
        ]
        names = [prompt.name for prompt in parsed]
        filtered = unicodedata.normalize('NFC', background).strip() if background else None
        self._forget_oldest()
        return Vocabulary(
            prompts=parsed,
            embeddings=_settled(F.normalize(torch.stack(rows), dim=1)),
            background=names.index(filtered) if filtered in names else None,
            templates=templates,
        )

    def missing(self, prompts: Sequence[str], templates: str) -> list[str]:
        """Return the prompts that `encode` has not encoded yet; see `Segmenter.missing`."""
        synonyms = [synonym for prompt in parse_prompts(prompts) for synonym in prompt.synonyms]
        key = _sentences(templates).key
        return [synonym for synonym in synonyms if (key, synonym) not in self._known]

    @torch.inference_mode()
    def _encode_missing(self, texts: Sequence[str], chosen: Sentences) -> dict[str, Tensor]:
        """Return the unit embeddings (C,) of texts, and keep those that were not known yet."""
        # another thread may forget texts meanwhile
        known = {text: self._known.get((chosen.key, text)) for text in texts}
        found = {text: embedding for text, embedding in known.items() if embedding is not None}
        sentences = {text: chosen.of(text) for text in known if text not in found}
        for text in sentences:
            kept = self._disk.get(text, sentences[text]) if self._disk else None
            if kept is not None:
                found[text] = torch.from_numpy(kept).to(self._tower.device)
        missing = [text for text in sentences if text not in found]
        units = self._embed([(text, sentences[text]) for text in missing]) if missing else ()
        for text, unit in zip(missing, units, strict=True):
            found[text] = F.normalize(unit.mean(dim=0), dim=0)
            if self._disk:
                self._disk.put(text, sentences[text], found[text].cpu().numpy())
        self._known.update(((chosen.key, text), found[text]) for text in sentences)
        return found

    @torch.inference_mode()
    def encode_each(self, prompts: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Encode prompts in each template by itself; nothing is kept.

        Args:
            prompts: As of `encode`.
            templates: M texts in which '{}' stands for the prompt.

        Returns:
            float32 (M, K, C), unit vectors: the mean over the synonyms of a prompt.

        Raises:
            PromptError: A prompt that cannot be used.
        """
        means = []
        for prompt in parse_prompts(prompts):
            given = Sentences('', templates, {})
            units = self._embed([(text, given.of(text)) for text in prompt.synonyms])
            means.append(F.normalize(torch.stack(units).mean(dim=0), dim=1))
        return _settled(torch.stack(means, dim=1))

    def _embed(self, texts: Sequence[tuple[str, list[str]]]) -> tuple[Tensor, ...]:
        """Return the unit embeddings (n, C) of the n sentences of each text."""
        tokens = torch.cat([self._tokenize(text, sentences) for text, sentences in texts])
        counts = [len(sentences) for _, sentences in texts]
        units: tuple[Tensor, ...] = self._tower(tokens).split(counts)
        return units

    def _tokenize(self, text: str, sentences: list[str]) -> Tensor:
        """Return tokens, int64 (S, context length), of the sentences made from one text.

        Raises:
            PromptError: A sentence would be cut, or the text contains one of CLIP's own marks.
        """
        room = self._limit - 2  # without start and end mark
        # one more than the tower accepts, so that a cut is noticed
        tokens: Tensor = self._tokenizer(sentences, context_length=self._limit + 1)
        if bool(tokens[:, -1].any()):
            raise PromptError(
                f'prompt {_show(text)} has more than {room} tokens with its template; '
                f'at most {room} are allowed'
            )
        marks = torch.tensor(getattr(self._tokenizer, 'all_special_ids', ()))
        if len(marks) == 2 and bool((torch.isin(tokens, marks).sum(dim=1) != 2).any()):
            raise PromptError(
                f"prompt {_show(text)} contains one of CLIP's special tokens, "
                '<start_of_text> or <end_of_text>; use ordinary words'
            )
        return tokens[:, :-1]

    def _forget_oldest(self) -> None:
        """Drop the oldest prompts if there are too many."""
        for key in list(self._known)[: max(0, len(self._known) - MAX_CACHED_PROMPTS)]:
            self._known.pop(key, None)  # another thread may forget it too


def _settled(embeddings: Tensor) -> Tensor:
    """Wait until the embeddings are computed; the worker thread may use another stream."""
    if embeddings.device.type == 'cuda':
        cuda.current_stream(embeddings.device).synchronize()
    return embeddings


def _sentences(templates: str) -> Sentences:
    try:
        return find_sentences(templates)
    except TemplateError as error:
        raise PromptError(str(error)) from error
