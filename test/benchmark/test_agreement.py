# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import pytest

from clip_dinoiser_ros.benchmark import agreement
from clip_dinoiser_ros.benchmark.agreement import measure_agreement


@pytest.mark.long
def test_bfloat16_agrees_with_float32_on_the_demos_scenes():
    found = measure_agreement('bf16', scenes=4, device='cpu', engine='torch')
    assert 0.99 <= found.least < 1.0  # and it is another precision
    assert found.same >= found.least
    assert abs(found.miou - found.miou_fp32) < 0.002
    assert found.miou_fp32 > 0.3


def test_agreement_is_measured_against_torch_in_float32(monkeypatch):
    asked = []
    load = agreement.Segmenter.load

    def noting(*args, **kwargs):
        asked.append(kwargs)
        return load(*args, **kwargs)

    monkeypatch.setattr(agreement.Segmenter, 'load', noting)
    found = measure_agreement('fp32', scenes=1, device='cpu')
    exact, other = asked
    assert (exact['precision'], exact['engine']) == ('fp32', 'torch')
    assert other['engine'] == 'auto'
    assert found.same > 0.999
