# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The demo: a recorded drive through a generated world, a live node, and the results."""
