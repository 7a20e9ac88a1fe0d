# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a machine needs before the node can start: check it, download and convert weights."""
