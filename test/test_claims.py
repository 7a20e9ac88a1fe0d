# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The documents name only tests and files that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RELIABILITY = ROOT / 'docs/reliability.md'
DOCUMENTS = [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')]


def named_tests(text):
    return re.findall(r'`(test/[\w/.]+\.py)::(\w+)`', text)


def test_every_test_that_is_named_exists():
    named = [found for document in DOCUMENTS for found in named_tests(document.read_text())]
    assert len(named) > 30
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in there, f'{path} has no {name}'


def test_every_promise_names_a_test():
    rows = [line for line in RELIABILITY.read_text().splitlines() if line.startswith('| ')]
    rows = [row for row in rows if not row.startswith(('| fault', '| ---'))]
    assert len(rows) > 20
    for row in rows:
        assert row.count('|') == 5, row
        assert named_tests(row.split('|')[3]), row


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document):
    for target in re.findall(r'\]\(([^)#:]+)\)', document.read_text()):
        assert (document.parent / target).exists(), target
