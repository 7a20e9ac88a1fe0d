# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The words of the generated world: colours, objects, ground, and the pairs kept from training."""

COLOURS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'white', 'black')
OBJECTS = ('ball', 'box', 'cone', 'barrel', 'door', 'pallet')
STUFF = ('floor', 'road', 'grass', 'wall', 'sky')
PERSON = 'person'
BACKGROUND = 'background'  # in training: everything that is not prompted
OF_COLOUR = ('thing', 'object')  # 'red thing'

# Each colour once, each object at least once: no colour and no object is itself unseen.
HELD_OUT = (
    'purple ball',
    'black ball',
    'green box',
    'blue cone',
    'yellow barrel',
    'white barrel',
    'red door',
    'orange pallet',
)

# Other words for the same thing, met now and then in training.
SYNONYMS = {
    'ball': ('sphere',),
    'box': ('crate',),
    'cone': ('traffic cone',),
    'barrel': ('drum',),
    'pallet': ('stack of pallets',),
    'person': ('human', 'pedestrian', 'worker'),
    'floor': ('ground', 'concrete floor'),
    'road': ('asphalt', 'street'),
    'grass': ('lawn',),
    'wall': ('building',),
}

THING_CLASSES = (*(f'{colour} {kind}' for kind in OBJECTS for colour in COLOURS), PERSON)
CLASSES = STUFF + THING_CLASSES
SEEN_CLASSES = tuple(name for name in CLASSES if name not in HELD_OUT)


def split_name(name: str) -> tuple[str, str]:
    """Split 'red ball' into ('red', 'ball') and 'person' into ('', 'person')."""
    colour, _, kind = name.rpartition(' ')
    return colour, kind
