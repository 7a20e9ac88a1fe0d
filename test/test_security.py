# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the sources must not do; ruff's S rules look for the rest."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*(ROOT / 'clip_dinoiser_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]


def calls():
    """All calls in the sources: (place, dotted name, keyword arguments as text)."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                place = f'{path.relative_to(ROOT)}:{node.lineno}'
                yield place, ast.unparse(node.func), keywords


@pytest.mark.parametrize(
    ('name', 'keyword', 'value', 'least'),
    [('torch.load', 'weights_only', 'True', 3), ('YAML', 'typ', "'safe'", 1)],
)
def test_readers_are_the_safe_ones(name, keyword, value, least):
    found = [(place, given.get(keyword)) for place, called, given in calls() if called == name]
    assert len(found) >= least
    assert not [place for place, given in found if given != value]


def test_no_code_is_made_of_data():
    forbidden = {'eval', 'exec', 'os.system', 'pickle.load', 'pickle.loads', 'yaml.load'}
    forbidden |= {'torch.jit.load', 'torch.hub.load', 'torch.package.PackageImporter'}
    assert not [(place, name) for place, name, _ in calls() if name in forbidden]
    assert not [
        (place, name)
        for place, name, given in calls()
        if given.get('shell') == 'True' or given.get('allow_pickle') == 'True'
    ]


def test_everything_is_downloaded_in_few_places():
    """The heads and CLIP, verified, the rest by OpenCLIP and timm."""
    readers = (
        'urlopen',
        'build_opener',
        'urlretrieve',
        '.requests.',
        'httpx',
        'download_pretrained',
    )
    places = {
        place.split(':')[0] for place, name, _ in calls() if any(r in f'.{name}' for r in readers)
    }
    assert places == {'clip_dinoiser_ros/core/transfer.py'}
    hub = {place.split(':')[0] for place, name, _ in calls() if 'hf_' in name}
    assert hub == {'clip_dinoiser_ros/core/sources.py'}
