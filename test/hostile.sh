#!/usr/bin/env bash
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# `make hostile`: a command in the worst shell that a user may have, all at once:
#
# - other kernels and numbers of threads than the tests choose, a locale that may not be installed, another time zone
# - HOME and XDG_CACHE_HOME below a file, so that nobody, root neither, can make or write them
# - files that only their owner may read
# - Python buffers what it writes into a pipe, and writes bytecode
# - on every path of ROS another user's workspace: this package in another version, a plugin of pytest that fails
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

export OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
unset PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE
export LANG=C LC_ALL=de_DE.UTF-8 TZ=Asia/Kolkata PYTHONHASHSEED=1
touch "$folder/file"
export HOME=$folder/file/home XDG_CACHE_HOME=$folder/file/cache

other=$folder/another\ user/ros
site=$other/lib/python3/site-packages
index=$other/share/ament_index/resource_index/packages
mkdir -p "$index" "$site/another_plugin-1.dist-info"
for name in clip_dinoiser_ros rclpy vision_msgs another_plugin; do
    mkdir -p "$site/$name" "$other/share/$name"
    touch "$index/$name"
    echo "raise ImportError('$name of another user')" >"$site/$name/__init__.py"
done
printf 'Metadata-Version: 2.1\nName: another_plugin\nVersion: 1\n' >"$site/another_plugin-1.dist-info/METADATA"
printf '[pytest11]\nanother = another_plugin\n' >"$site/another_plugin-1.dist-info/entry_points.txt"
for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH; do
    export "$name=$other${!name:+:${!name}}"
done
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}

umask 077
"$@"
