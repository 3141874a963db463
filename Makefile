# make demo   from nothing to a robot that obeys a sentence, with a report (20 minutes, 2 cores)
# make mt50   one policy for fifty tasks, from nothing to results with controls (4 hours, 2 cores)
# make test   every check and every test (7 minutes)
# make extras what only some tests need: LIBERO, Ray, rerun, vla-eval, a browser (1.9 GB); else they are skipped
# make docs   the handbook as a site: how a network sees and how a robot learns by doing (half a minute)
# They set themselves up: a virtual environment in .venv and a headless OpenGL library.
# Another Python: make PYTHON=python3.11 test

PYTHON ?= python3
BIN := .venv/bin
OUT ?= outputs/demo
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help setup extras demo mt50 test check slow docs
help:
	@sed -n 's/^# //p' Makefile | head -7

setup: .venv/ready .venv/graphics

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' || \
	  { echo "eyehand needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { $(ROOT) apt-get update -q && $(ROOT) apt-get install -qy python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[development]'
	@touch $@

.venv/graphics: .venv/ready
	@$(BIN)/eyehand doctor --only graphics || \
	  { $(ROOT) apt-get update -q && \
	    $(ROOT) apt-get install -qy libegl1 libgl1 libgl1-mesa-dri libosmesa6 && \
	    $(BIN)/eyehand doctor --only graphics; }
	@touch $@

# What is heavy and only some tests need; without it they are skipped.
extras: setup .venv/extras

.venv/extras: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[heavy]'
	@command -v chromium >/dev/null || \
	  { $(ROOT) apt-get update -q && \
	    $(ROOT) apt-get install -qy --no-install-recommends chromium; }
	@touch $@

demo: setup
	$(BIN)/eyehand demo --out $(OUT)

# Another policy: make mt50 RESULT=mt50-roboflamingo OUT=outputs/mt50-roboflamingo
mt50: RESULT ?= mt50
mt50: OUT = outputs/mt50
mt50: setup
	$(BIN)/eyehand reproduce $(RESULT) --out $(OUT)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n 2 --dist worksteal -q

slow: setup
	$(BIN)/pytest -q -m slow

docs: .venv/ready
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html docs/handbook outputs/handbook
	@echo "open outputs/handbook/index.html"
