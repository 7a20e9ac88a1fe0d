# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The captions tower: a second image tower, trained on captions only as CLIP is; its two heads."""
