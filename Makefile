# `make` lists what there is. Needed: Python 3.11 to 3.13 with venv, git, make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup data repro ablations test lab doctor verify-sd mutants faults fuzz bench docs strip clean
MAKEFLAGS += --no-print-directory

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONPATH PYTHONHOME

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# On a CPU, videos run side by side (JOBS=1: one after the other, the same bytes).
repro: data ## everything: set up, fetch, run the pipeline, print Table 1; interrupted, it goes on where it was
	@lnm repro

ablations: data ## every choice that the paper leaves open, tried both ways by two seeds (about a minute of a core a run); resumable
	@lnm ablations

# Files of tests are shared out among TEST_JOBS processes, each with one thread and some 2 GB of memory.
TEST_JOBS ?= 2
test: data ## set up the same way and run the tests
	@OMP_NUM_THREADS=1 python -m pytest -n $(TEST_JOBS) --dist loadfile

lab: data ## JupyterLab in this environment, with the notebooks and the whole project
	@lnm notebook lab

doctor: setup ## look at all that a run needs, with a fix for what is amiss
	@lnm doctor

verify-sd: setup ## check the real Stable Diffusion inpainting weights (needs the model hub or a local copy)
	@lnm checkpoint verify

mutants: data ## change the method's code in one place at a time and see whether a test notices (an hour or two)
	@python tests/mutants.py

bench: data ## time and memory beside other video U-Nets, into benchmarks/results/speed.json (half an hour)
	@python -m benchmarks.speed --json benchmarks/results/speed.json

faults: data ## kill every stage at drawn moments: does the same command go on to the same bytes? (an hour); resumable
	@python tests/fault_table.py

fuzz: data ## change bytes of every kind of file that is read, for five minutes: each is read or refused in one line
	@python tests/fuzz.py --seconds 300

docs: setup ## the README, docs/ and the notebooks of a run as a site, into build/site
	@python docs/build_site.py

strip: setup ## take outputs and run metadata out of the notebooks, before a commit
	@nbstripout --drop-empty-cells notebooks/*.ipynb

clean: ## delete what the pipeline computed; keeps inputs/, data/, checkpoints/, .venv and DVC's cache
	@rm -rf build results store

setup: .venv/.stamp

# Real footage and Inception weights are a DVC stage; the clips, lnm-mini, lnm-mini-motion and lnm-mini-decoder come from
# the DVC remote in this repository.
# `lnm repro` comes first: beside another run it ends at once, in one line, and it puts DVC's lock file right after a kill.
data: setup
	@lnm repro --quiet footage
	@dvc --wait-for-lock pull --quiet data.dvc lnm-mini lnm-mini-motion lnm-mini-decoder

.venv/.stamp: requirements.txt pyproject.toml
	@if ! .venv/bin/python -c 'import pip' 2> /dev/null; then \
	  for python in python3 python3.13 python3.12 python3.11 none; do \
	    $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null && break; \
	  done; \
	  if [ $$python = none ]; then \
	    echo "error: no Python 3.11, 3.12 or 3.13 with venv; on Debian and Ubuntu: apt-get install python3 python3-venv" >&2; \
	    exit 2; \
	  fi; \
	  echo "setting up .venv with $$($$python -V)"; \
	  $$python -m venv --clear .venv; \
	fi
	@echo "installing requirements.txt (the first time about 6 GB, some minutes; nothing is shown until it is done)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
