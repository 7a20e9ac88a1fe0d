# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pages agree with the tree: every link leads somewhere, and every guide is in the README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
LINK = re.compile(r'\]\(([^)\s]+)\)')


def without_code(text: str) -> str:
    return re.sub(r'^ *```.*?^ *```', '', text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', without_code(page.read_text()), re.MULTILINE)
    kept = [re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings]
    return {heading.replace(' ', '-') for heading in kept}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(without_code(page.read_text())):
        if link.startswith('http'):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{page.name} links to {link}'
        if anchor:
            assert anchor in anchors(target), f'{page.name} links to {link}'


def test_the_readme_names_every_page():
    linked = set(LINK.findall((ROOT / 'README.md').read_text()))
    pages = {f'docs/{page.name}' for page in PAGES if page.parent.name == 'docs'}
    assert pages <= {link.partition('#')[0] for link in linked}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_file_of_the_package_that_a_page_names_is_there(page):
    named = re.findall(r'\b((?:config|launch)/[\w.]+\.(?:yaml|json|rviz|py))', page.read_text())
    for name in named:
        assert (ROOT / name).exists(), f'{page.name} names {name}'
