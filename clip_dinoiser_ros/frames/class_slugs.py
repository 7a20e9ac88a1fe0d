# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names of classes in topics: a ROS 2 name token for any text."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_READABLE = 40  # characters; topic names end at 247, the namespace and the camera included
_HASH_DIGITS = 8
# names that need no digest: words of ASCII letters and digits, a letter first
_PLAIN = re.compile('[A-Za-z][A-Za-z0-9]*( [A-Za-z0-9]+)*')
_ENDS_LIKE_A_HASH = re.compile(f'.* [0-9a-f]{{{_HASH_DIGITS}}}')


def class_slug(name: str) -> str:
    """Return the token that stands for a class name in topics.

    It depends only on the name, not on other classes. Plain words are joined: 'red ball' becomes
    red_ball. Other names become their ASCII part and eight digits of their SHA-256: 'T-shirt'
    becomes T_shirt_ and eight digits, a Chinese name class_ and eight digits. Two names share a
    token only if the ASCII part and these 32 bits agree.

    Args:
        name: Any text, also an empty one.

    Returns:
        1 to 49 characters: letters, digits and single underscores inside, a letter first.
    """
    plain = _PLAIN.fullmatch(name) is not None and len(name) <= MAX_READABLE
    if plain and not _ENDS_LIKE_A_HASH.fullmatch(name):
        return name.replace(' ', '_')
    digest = hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:_HASH_DIGITS]
    return f'{_readable(name)}_{digest}'


def _readable(name: str) -> str:
    """Return the ASCII part of a name, without accents, as a token."""
    # the beginning of a very long text suffices
    letters = unicodedata.normalize('NFKD', name[: 10 * MAX_READABLE])
    ascii_only = ''.join(c for c in letters if not unicodedata.combining(c))
    words = re.findall('[A-Za-z0-9]+', ascii_only)
    if not words or not words[0][0].isalpha():
        words = ['class', *words]
    return '_'.join(words)[:MAX_READABLE].rstrip('_')
