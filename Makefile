# `make demo` and `make test` each set up all they need on a fresh machine and reuse what is there.
# ComfyUI itself is neither fetched nor changed: tests find a checkout by COMFYUI_PATH or in ~/ComfyUI.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
COMFYUI_PATH ?= $(wildcard $(HOME)/ComfyUI)
HOST_REQUIREMENTS := $(wildcard $(COMFYUI_PATH)/requirements.txt)
PIP := $(PY) -m pip install --quiet -c constraints.txt
STAMPS := $(VENV)/stamps

.PHONY: help setup demo test slow lint docs bench bench-gpu soak fuzz mutants compatibility locales tables registry-images help-images zip host browser
.DELETE_ON_ERROR:

help:
	@echo "make demo    images and figures of the tiny world, in out/demo"
	@echo "make test    all tests but the slow; those of the host need a ComfyUI checkout and skip loudly"
	@echo "make slow    the slow tests; with the above all. COMFYUI_VERSIONS: a folder of checkouts;"
	@echo "             NEWEST_FRONTEND: static/ of an unpacked comfyui_frontend_package"
	@echo "make lint    ruff and pyright"
	@echo "make docs    the documentation as a site, in out/site"
	@echo "make bench   measured speed and memory"
	@echo "make bench-gpu  only what needs CUDA: parity, step times at 512 px, memory"
	@echo "make soak    500 runs in one server, with faults; half an hour (needs a ComfyUI checkout)"
	@echo "make compatibility  docs/compatibility.md anew (needs a ComfyUI checkout)"
	@echo "make fuzz    mutated files for every reader, FUZZ_SECONDS=600; in no other target"
	@echo "make mutants small changes to the code that tests should notice, MUTANTS=400; an hour"
	@echo "make locales the English texts of nodes and controls, from schemas and web/js (needs a ComfyUI checkout)"
	@echo "make tables  the tables in the docs that are made from data"
	@echo "make zip     what the registry publishes, in out/dense-face.zip"
	@echo "make registry-images  icon and banner of the registry"
	@echo "make help-images  images of the nodes' help pages (needs a ComfyUI checkout)"
	@echo "make setup   only the environment in .venv"

$(STAMPS)/torch: constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/pack: $(STAMPS)/torch pyproject.toml requirements.txt
	$(PIP) -e ".[pipelines,train,dev,docs]"
	@touch $@

$(STAMPS)/host: $(STAMPS)/pack $(HOST_REQUIREMENTS) tests/host_setup.py tests/torchvision_cpu.py
	$(PY) tests/host_setup.py "$(COMFYUI_PATH)"
	@touch $@

# A browser that cannot be had is no failure: the tests that need it then skip and say why.
$(STAMPS)/browser: tests/browser/package.json tests/browser/setup.sh
	tests/browser/setup.sh && mkdir -p $(STAMPS) && touch $@ || true

setup: $(STAMPS)/pack

host: $(if $(HOST_REQUIREMENTS),$(STAMPS)/host)

browser: $(if $(HOST_REQUIREMENTS),$(STAMPS)/browser)

demo: setup
	$(VENV)/bin/denseface demo

# Two processes with one thread each are faster on two cores than one process with two. Models of full
# size need the memory for themselves.
BY_TWO := OMP_NUM_THREADS=1 $(PY) -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

test: setup host browser
	$(BY_TWO) -m "not slow and not full_size"
	$(PY) -m pytest tests -m "not slow and full_size"

slow: export COMFYUI_VERSIONS := $(COMFYUI_VERSIONS)
slow: export NEWEST_FRONTEND := $(NEWEST_FRONTEND)
slow: setup host browser
	$(BY_TWO) -m "slow and not full_size"
	$(PY) -m pytest tests -m "slow and full_size"

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

docs: setup
	$(PY) -m mkdocs build --strict --quiet

bench: setup
	$(PY) -m comfyui_dense_face.benchmarks

# With a torch for CUDA in the environment: VENV=... chooses another one.
bench-gpu: setup
	$(PY) -m comfyui_dense_face.benchmarks --only gpu_parity --only steps512 --only gpu_memory

soak: setup host
	$(PY) -m pytest tests/soak/soak_server.py -s

compatibility: setup host
	COMFYUI_VERSIONS="$(COMFYUI_VERSIONS)" COMPATIBLE_PYTHONS="$(COMPATIBLE_PYTHONS)" \
	$(PY) -m pytest tests/compatibility/matrix.py

FUZZ_SECONDS ?= 600

# Where atheris installs, coverage guides the mutations.
fuzz: setup
	-$(PIP) atheris
	OMP_NUM_THREADS=1 $(PY) tests/fuzz.py --seconds $(FUZZ_SECONDS)

MUTANTS ?= 400

$(STAMPS)/mutants: $(STAMPS)/pack
	$(PIP) "mutmut==3.8.1" coverage
	@touch $@

mutants: setup host $(STAMPS)/mutants
	$(PY) tests/mutants.py --count $(MUTANTS)

locales: setup host
	$(PY) -m pytest tests/host/test_schemas.py tests/test_control_texts.py -q -k english_locale --rewrite-locale

tables: setup
	$(PY) -m pytest tests/test_doc_tables.py -q --rewrite-tables

registry-images: setup
	$(PY) .github/registry/images.py

help-images: setup host
	$(PY) -m pytest tests/help_images/*.py -q

zip: setup
	@mkdir -p out
	$(PY) .github/registry/contents.py out/dense-face.zip
