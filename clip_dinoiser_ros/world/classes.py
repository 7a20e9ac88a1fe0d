# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The classes of the generated world: colours, objects, surfaces, and held-out pairs."""

COLOURS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'white', 'black')
OBJECTS = ('ball', 'box', 'cone', 'barrel', 'door', 'pallet')
STUFF = ('floor', 'road', 'grass', 'wall', 'sky')
PERSON = 'person'
BACKGROUND = 'background'  # in training: everything without a prompt
OF_COLOUR = ('thing', 'object')  # 'red thing'

# Each colour once, each object at least once, so that each is in the training with others.
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

# Other words for the same object, sometimes used in training.
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
