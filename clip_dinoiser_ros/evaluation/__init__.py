# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is measured of quality, and the tower that is trained by captions alone for it."""
