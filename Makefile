# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Daily commands; `make` lists them. ROS=kilted works with each.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ROS ?= $(or $(ROS_DISTRO),jazzy)
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
LOCK_ARGS ?=
export ROS

# ROS packets stay on this machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

# Extra packages of a target: $(call add,NAME,PYTHON) installs NAME.lock.txt into build/NAME-site, once.
add = { [ build/$(1)-site -nt requirements/$(1).lock.txt ] || { rm -rf build/$(1)-site \
	&& $(2) -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
	--target build/$(1)-site -r requirements/$(1).lock.txt && touch build/$(1)-site; }; }

# `python -m` below, because programs of an installed ROS (pytest) do not run in this environment.
ENV := . scripts/env.sh
CORE := $(wildcard clip_dinoiser_ros/core)

.PHONY: help setup test test-all hostile coverage lint test-rerun test-fleet fuzz soak lock audit manifest demo benchmark gpu clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup:  ## install ROS and torch where missing, and build this package (ROS=jazzy or kilted)
	@scripts/setup.sh

# Plugins are loaded by name, so that those of another ROS on the path are not.
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest --timeout 300 \
	$(addprefix -p ,pytest_timeout xdist.plugin pytest_cov _hypothesis_pytestplugin)
# Three files at a time, because tests of the node mostly wait; a selection by PYTEST_ARGS runs as it says.
WORKERS := $(if $(PYTEST_ARGS),,-n 3 --dist loadfile)
# the other files have the other cores
test test-all coverage: export OMP_NUM_THREADS ?= 1

test: setup  ## run the tests without the long ones; PYTEST_ARGS='test/node -x' selects
	@$(ENV) && $(PYTEST) $(WORKERS) -m 'not long' $(PYTEST_ARGS)

test-all: setup  ## run all tests, also the long ones; must pass before a change lands
	@$(ENV) && $(PYTEST) $(WORKERS) $(PYTEST_ARGS)

hostile: setup  ## run all tests in a shell with wrong settings; PYTEST_ARGS selects
	@test/hostile.sh $(MAKE) --no-print-directory test-all

# --cov takes the next word as a source unless it is an option
coverage: setup  ## run all tests with line coverage of all processes, which must not fall below a floor
	@$(ENV) && $(PYTEST) --cov --cov-report=term $(WORKERS) $(PYTEST_ARGS)

lint: setup  ## ruff check, ruff format, mypy (strict on core)
	@$(ENV) && python -m ruff check . && python -m ruff format --check . \
		&& $(if $(CORE),python -m mypy --strict $(CORE),true)

test-rerun: setup  ## run the tests that need the Rerun SDK (170 MB, into build/rerun-site)
	@$(ENV) && $(call add,rerun,python) && PYTHONPATH=build/rerun-site:$$PYTHONPATH \
		$(PYTEST) test/bag/test_rerun.py $(PYTEST_ARGS)

fuzz: setup  ## fuzz all input from outside for FUZZ_SECONDS
	@$(ENV) && $(call add,fuzz,python) && PYTHONPATH=test/fuzz:build/fuzz-site:$$PYTHONPATH \
		python test/fuzz/run_fuzz.py --seconds $(FUZZ_SECONDS)

test-fleet: setup  ## run the tests of `clip-dinoiser fleet` with Ray; PYTEST_ARGS selects
	@$(ENV) && $(call add,fleet,python) && PYTHONPATH=$$PYTHONPATH:$(CURDIR)/build/fleet-site \
		$(PYTEST) test/fleet $(PYTEST_ARGS)

soak: setup  ## run a node under changing load for SOAK_SECONDS; check memory and results
	@$(ENV) && PYTHONPATH=test/soak:test/node:test:$$PYTHONPATH \
		python test/soak/run_soak.py --seconds $(SOAK_SECONDS)

lock:  ## update requirements/*.lock.txt after a change of the lists; LOCK_ARGS=--upgrade takes newer versions
	@$(call add,uv,python3) && $(call add,tools,python3) \
		&& PYTHONPATH=scripts:build/tools-site:build/uv-site python3 scripts/lock_requirements.py $(LOCK_ARGS)

audit:  ## check installed packages for known vulnerabilities; needs the network
	@$(call add,tools,python3) && PYTHONPATH=build/tools-site python3 -m pip_audit --disable-pip \
		--require-hashes -r requirements/$(ROS).lock.txt

manifest: setup  ## update the SHA-256 lists of the models in the repository
	@$(ENV) && python -c 'from pathlib import Path; from clip_dinoiser_ros.core import manifest; \
		[manifest.write_manifest(Path(folder)) for folder in ( \
		"clip_dinoiser_ros/demo/model", "test/evaluation/captions_tower")]'

WEB ?=
PAGE := clip-dinoiser demo record --force --seconds 10 demo_out/page && clip-dinoiser web --model demo --bag demo_out/page \
	--prompts background person 'blue barrel' 'yellow box' 'orange cone' 'green pallet' --background background
demo: setup  ## run the demo on a generated world; WEB=1: a page with it in the browser
	@$(ENV) && $(if $(WEB),mkdir -p demo_out && $(PAGE),clip-dinoiser demo run)

# random weights need no download and are as fast
BENCHMARK_ARGS ?= --random-weights
benchmark: setup  ## measure speed; options in BENCHMARK_ARGS='--random-weights --compare PATH'
	@$(ENV) && clip-dinoiser benchmark $(BENCHMARK_ARGS)

# without `setup`: a machine with a GPU needs torch, OpenCLIP, OpenCV and Triton for it, and no ROS
COMPARE ?=
gpu:  ## check and measure on a GPU, write the table into docs/performance.md; COMPARE=PATH to the authors' code
	@{ [ ! -f scripts/env.sh ] || . scripts/env.sh >/dev/null 2>&1 || true; } \
		&& PYTHONPATH=.:test/gpu:$$PYTHONPATH python3 test/gpu/run_gpu.py $(if $(COMPARE),--compare $(COMPARE))

clean:  ## remove build outputs and caches
	rm -rf build install log .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find clip_dinoiser_ros launch scripts test -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## also remove the virtual environments in this folder
	rm -rf .venv .venv-kilted
