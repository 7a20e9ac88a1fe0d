# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a class is called in topics: a name token of ROS 2 for any text."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_READABLE = 40  # characters; topic names end at 247, the namespace and the camera included
_HASH_DIGITS = 8
# what becomes a token and back without loss: words of ASCII letters and digits, a letter first
_PLAIN = re.compile('[A-Za-z][A-Za-z0-9]*( [A-Za-z0-9]+)*')
_ENDS_LIKE_A_HASH = re.compile(f'.* [0-9a-f]{{{_HASH_DIGITS}}}')


def class_slug(name: str) -> str:
    """Return the token that stands for a class name in topics.

    It depends on the name alone, whatever the other classes are. Plain words are joined: 'red ball'
    is red_ball. Of any other name what can be read in ASCII is followed by eight digits of its
    SHA-256: 'T-shirt' is T_shirt_ and eight digits, a Chinese name class_ and eight digits. So two
    names share a token only where these 32 bits and all that can be read agree.

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
    """Return what can be read of a name in ASCII, accents taken off, as a token."""
    # of a very long text the beginning is enough, and cheap
    letters = unicodedata.normalize('NFKD', name[: 10 * MAX_READABLE])
    ascii_only = ''.join(c for c in letters if not unicodedata.combining(c))
    words = re.findall('[A-Za-z0-9]+', ascii_only)
    if not words or not words[0][0].isalpha():
        words = ['class', *words]
    return '_'.join(words)[:MAX_READABLE].rstrip('_')
