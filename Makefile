# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Daily commands; `make` alone lists them. ROS=kilted works with every one of them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ROS ?= $(or $(ROS_DISTRO),jazzy)
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
LOCK_ARGS ?=
export ROS

# No packet leaves this machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

# What a target needs beside the environment: $(call add,NAME,PYTHON) puts NAME.lock.txt into build/NAME-site, once.
add = { [ build/$(1)-site -nt requirements/$(1).lock.txt ] || { rm -rf build/$(1)-site \
	&& $(2) -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
	--target build/$(1)-site -r requirements/$(1).lock.txt && touch build/$(1)-site; }; }

# `python -m` below, because a program of an installed ROS (pytest) would not run in our environment.
ENV := . scripts/env.sh
CORE := $(wildcard clip_dinoiser_ros/core)

.PHONY: help setup test test-all hostile coverage lint fuzz soak lock audit manifest demo benchmark clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup:  ## install and build what is missing: ROS, torch, this package (ROS=jazzy or kilted)
	@scripts/setup.sh

# The plugins by name: of those that another ROS on the path brings, none is loaded.
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest --timeout 300 \
	$(addprefix -p ,pytest_timeout xdist.plugin pytest_cov _hypothesis_pytestplugin)
# Two files at a time, since the tests of the node mostly wait; what PYTEST_ARGS chooses runs as it says.
WORKERS := $(if $(PYTEST_ARGS),,-n 2 --dist loadfile)
# a thread that has nothing to do leaves the processor to the other file
test test-all coverage: export OMP_WAIT_POLICY ?= PASSIVE

test: setup  ## run the tests but for the long ones; PYTEST_ARGS='test/node -x' chooses
	@$(ENV) && $(PYTEST) $(WORKERS) -m 'not long' $(PYTEST_ARGS)

test-all: setup  ## run all tests, the long ones too: what has to pass before a change lands
	@$(ENV) && $(PYTEST) $(WORKERS) $(PYTEST_ARGS)

hostile: setup  ## run all tests in a shell that has everything set wrong; PYTEST_ARGS chooses
	@test/hostile.sh $(MAKE) --no-print-directory test-all

# --cov takes what follows for a source unless that is an option
coverage: setup  ## run all tests and tell which lines they reach, in all processes; a floor has to be kept
	@$(ENV) && $(PYTEST) --cov --cov-report=term $(WORKERS) $(PYTEST_ARGS)

lint: setup  ## ruff, its format, mypy (strict on core)
	@$(ENV) && python -m ruff check . && python -m ruff format --check . \
		&& $(if $(CORE),python -m mypy --strict $(CORE),true)

fuzz: setup  ## damage what comes from outside, for FUZZ_SECONDS in all, and see what breaks
	@$(ENV) && $(call add,fuzz,python) && PYTHONPATH=test/fuzz:build/fuzz-site:$$PYTHONPATH \
		python test/fuzz/drive.py --seconds $(FUZZ_SECONDS)

soak: setup  ## a node under everything at once for SOAK_SECONDS: does it leak, is it right
	@$(ENV) && PYTHONPATH=test/soak:test/node:test:$$PYTHONPATH \
		python test/soak/drive.py --seconds $(SOAK_SECONDS)

lock:  ## write requirements/*.lock.txt again, after a change of the others; LOCK_ARGS=--upgrade takes newer ones
	@$(call add,uv,python3) && $(call add,tools,python3) \
		&& PYTHONPATH=scripts:build/tools-site:build/uv-site python3 scripts/lock_requirements.py $(LOCK_ARGS)

audit:  ## ask for known holes of what is installed; needs the network
	@$(call add,tools,python3) && PYTHONPATH=build/tools-site python3 -m pip_audit --disable-pip \
		--require-hashes -r requirements/$(ROS).lock.txt

manifest: setup  ## list the SHA-256 of the files of the models again
	@$(ENV) && python -c 'from pathlib import Path; from clip_dinoiser_ros.core import manifest; \
		[manifest.write_manifest(Path(folder)) for folder in ( \
		"clip_dinoiser_ros/demo/model", "test/evaluation/captions_tower")]'

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
