# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The authors' own evaluation on the miniatures: COCO's images and ADE20K; see test_goldens.py."""

import pytest
from golden_cases import COCO, cases, check_result, towers_see_a_window_once

__all__ = ['towers_see_a_window_once']


@pytest.mark.usefixtures('towers_see_a_window_once')
@pytest.mark.parametrize(('name', 'variant'), cases(COCO))
def test_labels_and_sums_are_the_authors(name, variant, request, tmp_path):
    check_result(name, variant, request, tmp_path)
