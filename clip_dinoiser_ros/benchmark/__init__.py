# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Speed of the model on this machine, compared with what the machine can do."""
