# shellcheck shell=bash
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# On two cores a message may come too late for a test beside which another one computes: what fails is run
# once more, alone, and has to pass then. Such tests are named at the end.
# .ci/run reads this; run_make and check_floor are its own.

flaky=()

run_tests() { # DISTRIBUTION TARGET [TESTS]
    local names repeat=$2
    rm -f .pytest_cache/v/cache/lastfailed
    run_make "$1" "$2" PYTEST_ARGS="-n 2 --dist loadfile ${3-}" && return
    names=$(failed_tests) || return
    [ "$2" != coverage ] || repeat=test-all
    run_make "$1" "$repeat" PYTEST_ARGS="--last-failed --last-failed-no-failures none ${3-}" || return
    mapfile -t -O "${#flaky[@]}" flaky < <(sed "s/$/ (make $2 ROS=$1)/" <<<"$names")
    [ "$2" != coverage ] || check_floor # the failure has hidden whether it was kept
}

# One on each line; a failure if it was not a test that failed.
failed_tests() {
    python3 -c 'import json; print(*json.load(open(".pytest_cache/v/cache/lastfailed")), sep="\n")' 2>/dev/null
}

tell_flaky() {
    local name
    for name in "${flaky[@]}"; do
        echo "flaky, passed only when repeated: $name"
    done
}
