# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures of quality: data sets with true labels, the generated world, flicker."""
