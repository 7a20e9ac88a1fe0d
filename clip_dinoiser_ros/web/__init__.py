# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A page to watch cameras and to choose words, for a running node or for pictures."""
