# Every target does its own set-up; what is there already is not done again.
# PRESET=debug or asan builds into build-debug or build-asan (see CMakePresets.json).
PRESET ?= release
BUILD := $(if $(filter release,$(PRESET)),build,build-$(PRESET))
PYTHON := .venv/bin/python
# Two jobs of LLVM headers need about 2 GB; more only where memory allows.
JOBS ?= $(shell nproc)

.PHONY: help setup build demo test bench bench-cuda-pack bench-cuda docs docs-models install clean
help:
	@echo 'make demo   train, harden and evaluate a small ViT; writes demo/report.html'
	@echo 'make test   lit, gtest and pytest'
	@echo 'make build  the tools, in build/bin'
	@echo 'make bench  speed and memory against PyTorch, JAX and inference engines; needs an idle machine'
	@echo 'make bench-cuda-pack   what bench-cuda needs, in bench/out/cuda-pack'
	@echo 'make bench-cuda  speed and memory on an NVIDIA GPU; needs the pack, PyTorch and timm, no compiler'
	@echo 'make docs   regenerate docs/Dialects and docs/Passes.md'
	@echo 'make docs-models  run every supported model at its real size; writes docs/supported-models.md'
	@echo 'make install PREFIX=DIR'

setup:
	@scripts/setup.sh

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json | setup
	cmake --preset $(PRESET)

build: setup $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

demo: build
	$(PYTHON) demo/run.py

test: build
	ninja -C $(BUILD) -j $(JOBS) fuzzers
	$(PYTHON) scripts/run_tests.py --build $(BUILD) $(TESTFLAGS)

bench: build
	$(PYTHON) -m pip install -q --disable-pip-version-check -r bench/requirements.txt
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps -r bench/requirements-nodeps.txt
	$(PYTHON) bench/run.py $(BENCHFLAGS)

bench-cuda-pack: build
	$(PYTHON) bench/cuda_pack.py $(BENCHFLAGS)

# On the machine with the GPU: builds nothing. GPU_PYTHON is the one that has PyTorch for CUDA.
GPU_PYTHON ?= $(if $(wildcard $(PYTHON)),$(PYTHON),python3)
bench-cuda:
	$(GPU_PYTHON) bench/cuda.py $(BENCHFLAGS)

docs: build
	$(PYTHON) docs/generate.py

# Minutes for each model; MODELS="swin resnet50" runs some of them again.
docs-models: build
	$(PYTHON) docs/supported.py $(MODELS)

PREFIX ?= $(CURDIR)/install
install: build
	cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD)
