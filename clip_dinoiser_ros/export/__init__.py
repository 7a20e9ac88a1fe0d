# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The image path as an ONNX file, for machines that run it without torch."""
