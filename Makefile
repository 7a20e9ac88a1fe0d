# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Daily commands; `make` alone lists them. ROS=kilted works with every one of them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ROS ?= $(or $(ROS_DISTRO),jazzy)
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
export ROS

# No packet leaves this machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

# `python -m` below, because a program of an installed ROS (pytest) would not run in our environment.
ENV := . scripts/env.sh
CORE := $(wildcard clip_dinoiser_ros/core)

.PHONY: help setup test coverage lint fuzz soak lock audit manifest demo benchmark clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup:  ## install and build what is missing: ROS, torch, this package (ROS=jazzy or kilted)
	@scripts/setup.sh

test: setup  ## run the tests; PYTEST_ARGS='test/node -x' chooses
	@$(ENV) && python -m pytest --timeout 300 $(PYTEST_ARGS)

# --cov takes what follows for a source unless that is an option
coverage: setup  ## run the tests and tell which lines they reach, in all processes; a floor has to be kept
	@$(ENV) && python -m pytest --timeout 300 --cov --cov-report=term $(PYTEST_ARGS)

lint: setup  ## ruff, its format, mypy (strict on core)
	@$(ENV) && python -m ruff check . && python -m ruff format --check . \
		&& $(if $(CORE),python -m mypy --strict $(CORE),true)

fuzz: setup  ## damage what comes from outside, for FUZZ_SECONDS in all, and see what breaks
	@$(ENV) && { [ -d build/fuzz/site ] \
		|| python -m pip install --quiet --target build/fuzz/site -r requirements/fuzz.txt; } \
		&& PYTHONPATH=test/fuzz:build/fuzz/site:$$PYTHONPATH \
		python test/fuzz/drive.py --seconds $(FUZZ_SECONDS)

soak: setup  ## a node under everything at once for SOAK_SECONDS: does it leak, is it right
	@$(ENV) && PYTHONPATH=test/soak:test/node:test:$$PYTHONPATH \
		python test/soak/drive.py --seconds $(SOAK_SECONDS)

lock:  ## write requirements/*.lock.txt again, after a change of the others; needs the network
	@[ -d build/lock ] || python3 -m pip install --quiet --target build/lock uv packaging
	@PYTHONPATH=build/lock python3 scripts/lock_requirements.py

audit:  ## ask for known holes of what is installed; needs the network
	@[ -d build/audit ] || python3 -m pip install --quiet --target build/audit pip-audit
	@PYTHONPATH=build/audit python3 -m pip_audit --disable-pip --require-hashes \
		-r requirements/$(ROS).lock.txt

manifest: setup  ## list the SHA-256 of the shipped model again, after a change of it
	@$(ENV) && python -c 'from pathlib import Path; from clip_dinoiser_ros.core import manifest; \
		manifest.write_manifest(Path("clip_dinoiser_ros/demo/model"))'

demo: setup  ## see it work on a generated world
	@$(ENV) && clip-dinoiser demo run

# random weights: nothing is downloaded, and speed does not depend on them
BENCHMARK_ARGS ?= --random-weights
benchmark: setup  ## measure speed; BENCHMARK_ARGS='--random-weights --compare PATH' chooses
	@$(ENV) && clip-dinoiser benchmark $(BENCHMARK_ARGS)

clean:  ## remove what was built, and caches
	rm -rf build install log .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find clip_dinoiser_ros launch scripts test -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## and the virtual environments in this folder
	rm -rf .venv .venv-kilted
