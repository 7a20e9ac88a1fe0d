# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings, without ROS: segment a bag into a bag, make a video and a report, play a bag."""
