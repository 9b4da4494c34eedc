# Galen's commands. `make` lists them, `make serve` is the one to start with.
# Variables: ARGS (passed on to serve and bench), PYTHON (default python3), CARGO (default cargo).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
ARGS ?=
export PYTHON

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
VENV := $(TARGET)/venv
TOOLS := $(TARGET)/tools
STEPS := $(TARGET)/steps.log
STEP := @tests/tools/step.sh $(STEPS)
CARGO_DENY_VERSION := 0.20.2

ifeq ($(shell uname -s),Darwin)
LIBRARY := $(TARGET)/lib/libonnxruntime.dylib
else
LIBRARY := $(TARGET)/lib/libonnxruntime.so
endif

# One thing at a time: cargo uses every core by itself, and its steps share one build folder.
.NOTPARALLEL:
.PHONY: help serve build pgo onnxruntime test fmt lint bench doc venv clean
.PHONY: check-fmt clippy compile test-rust test-e2e lint-rest

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

serve: build ## fetch ONNX Runtime, build in release mode and serve models/ (ARGS="--http 127.0.0.1:9000")
	$(TARGET)/release/galen serve --models models $(ARGS)

build: onnxruntime ## build target/release/galen, which finds ONNX Runtime in target/lib
	$(CARGO) build --release --locked

pgo: onnxruntime ## build target/pgo/galen, the same but laid out for where time goes under load
	CARGO=$(CARGO) tests/tools/pgo.sh $(TARGET)

onnxruntime: ## fetch the pinned ONNX Runtime library into target/lib, once
	@$(PYTHON) tests/tools/fetch_onnxruntime.py $(TARGET)/lib

test: ## everything that CI runs: format, clippy, tests, docs, end-to-end
	@rm -f $(STEPS)
	$(STEP) 'format' $(MAKE) --no-print-directory check-fmt
	$(STEP) 'onnxruntime' $(MAKE) --no-print-directory onnxruntime
	$(STEP) 'python environment' $(MAKE) --no-print-directory venv
	$(STEP) 'clippy' $(MAKE) --no-print-directory clippy
	$(STEP) 'compile' $(MAKE) --no-print-directory compile
	$(STEP) 'cargo test' $(MAKE) --no-print-directory test-rust
	$(STEP) 'doc' $(MAKE) --no-print-directory doc
	$(STEP) 'end-to-end' $(MAKE) --no-print-directory test-e2e
	$(STEP)

fmt: ## format the Rust code
	$(CARGO) fmt

lint: check-fmt clippy lint-rest ## format check, clippy, cargo-deny, shellcheck, hadolint, promtool

bench: onnxruntime ## run the benchmarks (ARGS="--bench queue" for one of them)
	ORT_DYLIB_PATH=$(LIBRARY) $(CARGO) bench --locked $(ARGS)

doc: ## build the crate's pages into target/doc; the first one is the architecture
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

venv: ## make target/venv and what else the end-to-end tests run
	@tests/tools/venv.sh $(VENV) tests/requirements.txt
	@$(PYTHON) tests/tools/fetch_perf_analyzer.py $(TOOLS)/perf_analyzer
	@$(VENV)/bin/python tests/tools/fetch_minilm.py $(TARGET)/minilm
	@tests/tools/fetch_browser.sh

clean: ## remove everything that was built or fetched
	$(CARGO) clean

# The parts of test and lint.

check-fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The debug binary of the end-to-end tests comes from here too: a plain `cargo build` would choose
# other features for the dependencies that the tests share, and compile those a second time.
compile:
	$(CARGO) test --locked --no-run

# Test binaries lie in target/debug/deps, from where ../lib is not target/lib.
test-rust:
	ORT_DYLIB_PATH=$(LIBRARY) $(CARGO) test --locked

test-e2e:
	GALEN_BINARY=$(TARGET)/debug/galen $(VENV)/bin/python -m pytest tests/e2e

lint-rest: $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)
	@tests/tools/venv.sh $(TOOLS)/venv tests/tools/lint.txt
	@tests/tools/fetch_promtool.sh $(TOOLS)
	@tests/tools/lint.sh $(TOOLS)

$(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION):
	$(CARGO) install --locked --root $(TOOLS) --version $(CARGO_DENY_VERSION) cargo-deny
	@touch $@
