# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""How fast this machine runs the model, and how far that is from what it could do."""
