# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""How whole input is damaged."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERS = (b'\x00' * 8, b'\xff' * 8, b'\x7f' + b'\xff' * 7, b'\x01' + b'\x00' * 7)


@st.composite
def damaged(draw, wholes):
    """Whole input with some of it cut, turned over, taken out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        end = min(len(content), place + draw(st.sampled_from([1, 2, 4, 8, 64])))
        match draw(st.sampled_from(['cut', 'turn', 'take', 'double', 'number', 'put'])):
            case 'cut':
                del content[place:]
            case 'turn' if place < len(content):
                content[place] ^= 1 << draw(st.integers(0, 7))
            case 'take':
                del content[place:end]
            case 'double':
                content[place:place] = content[place:end]
            case 'number':
                content[place:end] = draw(st.sampled_from(NUMBERS))[: end - place]
            case 'put':
                content[place:place] = draw(st.binary(max_size=8))
    return bytes(content)
