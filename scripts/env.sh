# shellcheck shell=bash
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Puts this workspace into the current shell, a bash in any folder: . scripts/env.sh
# It can be repeated, and ROS=kilted . scripts/env.sh switches. Run `make setup` first.
#
# PYTHONSAFEPATH keeps the current folder (or that of a script) out of the search path: the sources in this checkout
# have no messages and would hide the built package.

# Print a list of paths without the entries of this workspace and without those that a Python of ROS wheels added, if
# it started this shell
_clip_dinoiser_others() {
    local entry kept='' IFS=:
    for entry in $1; do
        case $entry in "$root"/install/*) continue ;; esac
        if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
            case $entry in */ros_*.libs) continue ;; esac
            [ ! -e "${entry%/lib}/pyvenv.cfg" ] || continue
        fi
        kept=$kept${kept:+:}$entry
    done
    printf '%s' "$kept"
}

_clip_dinoiser_env() {
    local root ros=${ROS:-${ROS_DISTRO:-jazzy}} venv name
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    venv=$root/.venv
    [ "$ros" = jazzy ] || venv=$venv-$ros
    venv=${CLIP_DINOISER_VENV:-$venv}
    [[ $venv = /* ]] || venv=$root/$venv
    if [ ! -e "$venv/bin/activate" ] || [ ! -e "$root/install/$ros/.clip_dinoiser" ]; then
        echo "env.sh: nothing is set up for $ros yet: make -C $root setup ROS=$ros" >&2
        return 1
    fi
    for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH PATH; do
        [ -z "${!name:-}" ] || export "$name=$(_clip_dinoiser_others "${!name}")"
        [ -n "${!name:-}" ] || unset "$name" # set but empty would come to mean the current folder
    done
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE # the wheels find their libraries when Python starts
    if [ "${VIRTUAL_ENV:-}" != "$venv" ] || [[ ":$PATH:" != *":$venv/bin:"* ]]; then
        # shellcheck disable=SC1091
        . "$venv/bin/activate"
    fi
    if [ -e "$venv/share/rclpy" ]; then # ROS from wheels: nothing else has named its prefix
        export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
        unset PYTHONPATH # what else is sourced is for another Python, and would hide the wheels
    fi
    # scripts of colcon do not quote the path of Python, which may have a space: do not use that of the environment
    COLCON_PYTHON_EXECUTABLE=$(readlink -f "$venv/bin/python")
    # shellcheck disable=SC1090
    . "$root/install/$ros/local_setup.bash"
    unset COLCON_PYTHON_EXECUTABLE
    # an empty entry would mean the current folder
    [ -z "${LD_LIBRARY_PATH:-}" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH%:}
    export PYTHONSAFEPATH=1
}

_clip_dinoiser_env
