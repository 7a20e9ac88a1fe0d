# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a machine needs before the node can start: weights brought and converted, all looked at."""
