# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Many recordings: segmented on a Ray cluster, a file each."""
