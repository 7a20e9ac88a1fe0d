# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A generated world, the small model trained on it, and the demo that shows both."""
