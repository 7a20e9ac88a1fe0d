# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The second image tower, trained by captions alone as CLIP is, and its two heads."""
