#!/usr/bin/env bash
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# `make setup`: install and build what this checkout lacks.
#
# ROS                  jazzy (default) or kilted
# CLIP_DINOISER_VENV   path of the virtual environment, by default .venv (.venv-kilted)
#
# ROS comes from the installation that is sourced, with its numpy, OpenCV and vision_msgs. Without one, it comes
# from wheels: scripts/install installs exactly requirements/$ROS.lock.txt into the environment, and vision_msgs is
# the stand-in in test/.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

# Print the prefix of the ROS installation sourced in this shell, or nothing. Wheels do not count.
sourced_ros() {
    local prefix IFS=:
    for prefix in ${AMENT_PREFIX_PATH:-}; do
        if [ -n "${ROS_DISTRO:-}" ] && [ -e "$prefix/share/rclpy" ] && [ ! -e "$prefix/pyvenv.cfg" ]; then
            echo "$prefix"
            return
        fi
    done
}

choose_ros() {
    installation=$(sourced_ros)
    ros=${ROS:-${ROS_DISTRO:-jazzy}}
    if [ -n "$installation" ]; then
        [ "$ros" = "$ROS_DISTRO" ] || fail "ROS=$ros, but this shell has sourced $ROS_DISTRO; open another one"
        say "ROS: the installation in $installation ($ros), as it is sourced; no wheels, no stand-in"
        [[ $ros = jazzy || $ros = kilted ]] || say "warning: tested on jazzy and kilted, not on $ros"
    else
        [ -f "requirements/$ros.txt" ] || fail "no wheels of ROS '$ros': say ROS=jazzy or ROS=kilted," \
            "or source an installation (. /opt/ros/$ros/setup.bash)"
        say "ROS: $ros from wheels (to use an installed ROS, source it first)"
        unset PYTHONPATH COLCON_PREFIX_PATH # what else is sourced is for another Python
        # a Python of ROS wheels that started this added its libraries, perhaps of the other distribution
        [ -z "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] || unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
    fi
    venv=${CLIP_DINOISER_VENV:-$root/.venv}
    [[ -n ${CLIP_DINOISER_VENV:-} || $ros = jazzy ]] || venv=$root/.venv-$ros
    [[ $venv = /* ]] || venv=$root/$venv
}

# Print the Debian packages that python3 lacks.
python_gaps() {
    python3 - "$1" <<'PYTHON'
import os.path, sys, sysconfig
if sys.version_info < (3, int(sys.argv[1])):
    print(f'python3 (3.{sys.argv[1]} or newer; {sys.executable} is {sys.version.split()[0]})')
try:
    import ensurepip, venv
except ImportError:
    print('python3-venv')
if not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
    print('python3-dev')
PYTHON
}

check_tools() {
    local tool packages=() minor=11 # numpy in requirements/core.txt; an installation brings its own
    [ -z "$installation" ] || minor=10
    for tool in python3 g++ cmake make; do
        command -v "$tool" >/dev/null || packages+=("$tool")
    done
    if command -v python3 >/dev/null; then
        mapfile -t -O "${#packages[@]}" packages < <(python_gaps "$minor")
    fi
    if [ -n "$installation" ]; then
        command -v colcon >/dev/null || packages+=(python3-colcon-common-extensions)
        find_share vision_msgs >/dev/null || packages+=("ros-$ros-vision-msgs")
    fi
    [ ${#packages[@]} -eq 0 ] && return
    for tool in "${packages[@]}"; do
        echo "setup: missing: sudo apt install $tool" >&2
    done
    exit 1
}

# Print the prefix on AMENT_PREFIX_PATH that contains a package.
find_share() {
    local prefix IFS=:
    for prefix in ${AMENT_PREFIX_PATH:-}; do
        [ -e "$prefix/share/$1/package.xml" ] && echo "$prefix" && return
    done
    return 1
}

digest() { cat "$@" | sha256sum | cut -c 1-16; }

# Print the lines of the requirement files whose module this Python cannot import: numpy, OpenCV and pytest of an
# installation fit its other packages and stay.
absent_requirements() {
    "$venv/bin/python" - "$@" <<'PYTHON'
import sys
from importlib.util import find_spec
MODULES = {
    'open_clip_torch': 'open_clip',
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'pytest-xdist': 'xdist',
    'ruamel.yaml': 'ruamel',
}
for path in sys.argv[1:]:
    for line in open(path):
        name = line.split('==')[0].strip()
        if name and name[0] != '#':
            if find_spec(MODULES.get(name, name.replace('-', '_'))) is None:
                print(line.strip())
PYTHON
}

# With an installation of ROS: install what it lacks, in the versions of our lists.
install_beside_ros() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install) absent
    [ -t 1 ] || pip+=(--quiet)
    python3 -c 'import rclpy' || fail "$(command -v python3) cannot import rclpy of $installation:" \
        "put the Python that ROS was installed for first on the PATH"
    python3 -m venv --system-site-packages "$venv"
    echo "$identity" >"$venv/.clip_dinoiser"
    absent=$(absent_requirements requirements/core.txt requirements/web.txt requirements/dev.txt)
    say "Python: beside what $ros has: ${absent//$'\n'/ }"
    [ -z "$absent" ] || "${pip[@]}" -r <(echo "$absent")
}

install_wheels() {
    python3 scripts/install "$venv" "requirements/$ros.lock.txt" || exit 1
    say "$("$venv/bin/python" scripts/repair_cmake_exports.py)"
    touch "$venv/local_setup.sh" # colcon warns of a prefix that has none
}

# A file in the environment records its purpose and its lists; the lists are written at the end.
prepare_venv() {
    local identity lists stamp=$venv/.clip_dinoiser files=(requirements/core.txt requirements/web.txt requirements/dev.txt)
    identity="$ros ${installation:-wheels} python$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') $venv"
    [ -n "$installation" ] || files=("requirements/$ros.lock.txt" scripts/repair_cmake_exports.py)
    lists=$(digest "${files[@]}")
    if [ -e "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$identity" ]; then
        fail "$venv is for '$(head -n 1 "$stamp")', wanted is '$identity': remove it or set CLIP_DINOISER_VENV"
    fi
    if [ "$(tail -n 1 "$stamp" 2>/dev/null)" = "$lists" ] && "$venv/bin/python" -Ic '' 2>/dev/null; then
        say "Python: $venv, up to date"
        return
    fi
    say "Python: installing into $venv (about a minute and 6 GB the first time)"
    if [ -n "$installation" ]; then
        install_beside_ros
    else
        install_wheels
    fi
    printf '%s\n' "$identity" "$lists" >"$stamp"
}

# Print everything that requires a new build: settings and messages by content, Python files by name (they are
# installed as links, so an edit is live).
sources() {
    find CMakeLists.txt package.xml msg srv test/vision_msgs -type f -print0 | sort -z | xargs -0 cat
    local folder
    for folder in clip_dinoiser_ros launch config scripts; do
        [ ! -d "$folder" ] || find "$folder" -type f ! -name '*.pyc' | sort
    done
}

build() {
    local stamp=install/$ros/.clip_dinoiser identity packages=(clip_dinoiser_ros) folders=(.) wanted
    identity="$root $(head -n 1 "$venv/.clip_dinoiser")"
    wanted=$(sources | digest)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$identity $wanted" ]; then
        say "build: install/$ros, up to date"
        return
    fi
    # CMake caches the Python that it found
    [[ "$(cat "$stamp" 2>/dev/null)" = "$identity "* ]] || rm -rf "build/$ros" "install/$ros"
    if [ -z "$installation" ]; then
        packages+=(vision_msgs)
        folders+=(test/vision_msgs)
        export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
    fi
    say "build: ${packages[*]}"
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    colcon --log-base "log/$ros" build --symlink-install \
        --base-paths "${folders[@]}" --packages-select "${packages[@]}" \
        --build-base "build/$ros" --install-base "install/$ros" \
        --cmake-args "-DPython3_EXECUTABLE=$venv/bin/python"
    find "install/$ros" -xtype l -delete # links to files that are gone
    echo "$identity $wanted" >"$stamp"
}

choose_ros
check_tools
mkdir -p "$venv"
exec 9<"$venv" # one set-up of an environment at a time
flock 9
prepare_venv
build
if [ "$ros" = "${ROS_DISTRO:-jazzy}" ]; then
    say "ready: . scripts/env.sh"
else
    say "ready: ROS=$ros . scripts/env.sh"
fi
