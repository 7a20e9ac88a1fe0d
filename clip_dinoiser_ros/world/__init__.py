# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Generated yards and warehouses as a camera sees them, with the true class of every pixel."""
