# make demo      make the environment, install, answer the main question on a real trace
# make test      everything that needs no torch; make test-torch installs torch and runs the rest
# make lint      style and types        make bench   times and memory        make clean
# make accuracy  the tables and pictures of docs/accuracy.md anew, from published measurements (extra silicon)
# make soak      tests/hardening over many more cases with a fresh seed; a failure prints the seed that repeats it
# make study     docs/study.md and its sweeps anew (minutes)
# make mechanisms  docs/mechanisms.md anew (minutes)
# make docs      the documentation as a site in build/site, warnings as errors

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-torch lint bench soak accuracy study mechanisms docs clean

demo: $(VENV)/core
	$(BIN)/speedsim run

test: $(VENV)/test
	$(BIN)/python -m pytest --numprocesses auto --ignore tests/torch

test-torch: $(VENV)/torch
	$(BIN)/python -m pytest tests/torch

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/mypy sim

bench: $(VENV)/test
	$(BIN)/python -m benchmarks

soak: SEED := $(or $(SPEEDSIM_SEED),$(shell date +%s))
soak: $(VENV)/test
	SPEEDSIM_SEED=$(SEED) SPEEDSIM_MUTATIONS=$(or $(SPEEDSIM_MUTATIONS),20000) SPEEDSIM_HASH_SEEDS="$(SEED) random" \
		$(BIN)/python -m pytest -q tests/hardening

accuracy: $(VENV)/silicon
	$(BIN)/python -m validate accuracy

study: $(VENV)/test
	$(BIN)/python docs/study_sweeps.py
	$(BIN)/python docs/study.py

mechanisms: $(VENV)/test
	$(BIN)/python docs/mechanisms.py

docs: $(VENV)/docs
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/core: $(VENV)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[report]'
	touch $@

$(VENV)/test: $(VENV)/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/silicon: $(VENV)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[silicon]'
	touch $@

# The exact version: a plain `torch` brings gigabytes of CUDA libraries that no test needs.
$(VENV)/torch: $(VENV)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,torch]'
	touch $@

$(VENV)/docs: $(VENV)/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@
