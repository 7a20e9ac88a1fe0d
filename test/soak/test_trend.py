# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is called a leak and what is not, on series made up for it."""

import numpy as np
import pytest
from trend import fit

SECONDS = np.arange(400.0)  # what ten minutes leave after the warm-up
ALLOWED = 60.0  # per hour


def noise(seed=0, size=2.0):
    return np.random.default_rng(seed).normal(0.0, size, len(SECONDS))


def sawtooth(period_s=60.0, height=40.0):
    """Memory that is taken and given back, as by a model that is loaded again."""
    return height * (SECONDS % period_s) / period_s


def test_slope_of_a_line():
    trend = fit(SECONDS, 500 + SECONDS * 0.1, ALLOWED)
    for value in (trend.per_hour, trend.low, trend.high):
        assert value == pytest.approx(360.0)
    assert trend.level == pytest.approx(519.95)


@pytest.mark.parametrize(
    'values',
    [
        500 + 0.1 * SECONDS + noise(),
        500 + 0.2 * SECONDS + sawtooth(),
        500 + np.repeat(np.arange(20.0), 20) * 3,  # a bit with every of twenty restarts
        500 + 0.1 * SECONDS + np.where(SECONDS % 50 < 3, 300.0, 0.0),  # with outliers
    ],
    ids=['noise', 'sawtooth', 'steps', 'outliers'],
)
def test_a_leak_is_found(values):
    assert fit(SECONDS, values, ALLOWED).grows


@pytest.mark.parametrize(
    'values',
    [
        500 + 0 * SECONDS,
        500 + noise(),
        500 + sawtooth(),
        500 - 0.1 * SECONDS + noise(),
        500 + np.where(SECONDS > 250, 30.0, 0.0) + noise(),  # once, and not again
        500 + np.where(SECONDS % 100 < 5, 300.0, 0.0) + noise(),
        500 + 0.01 * SECONDS,  # less than is allowed
    ],
    ids=['constant', 'noise', 'sawtooth', 'falling', 'one step', 'outliers', 'allowed'],
)
def test_no_leak_is_made_up(values):
    assert not fit(SECONDS, values, ALLOWED).grows


def test_whole_numbers():
    """Descriptors and threads: one more in ten seconds is a leak, coming and going is none."""
    assert fit(SECONDS, 60 + SECONDS // 10, 6.0).grows
    assert not fit(SECONDS, 60 + SECONDS // 10 % 2, 6.0).grows


def test_noise_is_rarely_called_a_leak():
    """Of an interval of 95 %, one end is left to chance in 2.5 % of all cases."""
    grown = sum(fit(SECONDS, noise(seed), 0.0).grows for seed in range(400))
    assert grown < 400 * 0.05


@pytest.mark.parametrize('count', [2, 3, 11])
def test_few_samples(count):
    trend = fit(SECONDS[:count], SECONDS[:count], 0.0)
    assert trend.low == pytest.approx(3600.0)
