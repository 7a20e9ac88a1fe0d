# shellcheck shell=bash
# Puts this workspace into the current shell, a bash in any folder: . scripts/env.sh
# Again does no harm, and ROS=kilted . scripts/env.sh changes over. `make setup` comes first.

# A list of paths without the entries of this workspace and of wheel environments
_clip_dinoiser_others() {
    local entry kept='' IFS=:
    for entry in $1; do
        case $entry in "$root"/install/* | */ros_*.libs) continue ;; esac
        [ -e "${entry%/lib}/pyvenv.cfg" ] || kept=$kept${kept:+:}$entry
    done
    printf '%s' "$kept"
}

_clip_dinoiser_env() {
    local root ros=${ROS:-${ROS_DISTRO:-jazzy}} venv name
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    venv=$root/.venv
    [ "$ros" = jazzy ] || venv=$venv-$ros
    venv=${CLIP_DINOISER_VENV:-$venv}
    if [ ! -e "$venv/bin/activate" ] || [ ! -e "$root/install/$ros/.clip_dinoiser" ]; then
        echo "env.sh: nothing is set up for $ros yet: make -C $root setup ROS=$ros" >&2
        return 1
    fi
    for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH PATH; do
        [ -z "${!name:-}" ] || export "$name=$(_clip_dinoiser_others "${!name}")"
    done
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE # the wheels find their libraries when Python starts
    if [ "${VIRTUAL_ENV:-}" != "$venv" ] || [[ ":$PATH:" != *":$venv/bin:"* ]]; then
        # shellcheck disable=SC1091
        . "$venv/bin/activate"
    fi
    if [ -e "$venv/share/rclpy" ]; then # ROS from wheels: nothing else has named its prefix
        export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
    fi
    # shellcheck disable=SC1090
    . "$root/install/$ros/local_setup.bash"
}

_clip_dinoiser_env
