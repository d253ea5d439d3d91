# SPDX-License-Identifier: Apache-2.0
#
# Every target does its own set-up: Debian packages (as root; else it says what
# is missing), a virtual environment in .venv, and the C module, built anew
# only when its sources, the compiler or the flags changed.
#
#   PYTHON=python3.12       the interpreter that .venv is made from
#   CC=clang                the compiler of the C modules
#   FWD_SANITIZE=thread     instrumented C modules, see cext/build.py
#   ARGS='-k coalesce'      more arguments for pytest, or for fwd bench (ARGS=--quick)
#   SECONDS=30              how long each fuzz target runs
#   JOBS=2                  how many C tests or fuzz targets at a time
#   MINUTES=10              how long make soak does
#   BASE=, IMAGE=           of the container image, see deploy/build-image
#   FAMILY=dual             IP versions of the demo: 4, 6 or both
#   SOURCE=etcd             where the demo's nodes have their leases from

SHELL := /bin/bash
PYTHON ?= python3
FAMILY ?= 4
SECONDS ?= 30
JOBS ?= 2
MINUTES ?= 10
VENV := .venv/bin

# A compiler's warning is an error here; `pip install .` forgives it.
export FWD_WERROR ?= 1

FLAGS := $(if $(filter default,$(origin CC)),,CC=$(CC)) CFLAGS=$(CFLAGS) \
	FWD_SANITIZE=$(FWD_SANITIZE) FWD_WERROR=$(FWD_WERROR)

.DELETE_ON_ERROR:
.PHONY: help demo test check asan tsan foreign netns-asan netns-tsan fuzz counts bench soak image image-test setup packages clean distclean FORCE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: setup ## three nodes on this machine, all Pods reaching each other; a fourth comes and goes (root)
	$(VENV)/fwd lab demo --family $(FAMILY) $(addprefix --source ,$(SOURCE))

# In the order in which they are found: the slow files, of tests/netns, come before the many quick
# ones of tests/unit, so that at the end nobody waits for a slow one.
test: setup ## all tests; those with real devices need root
	$(VENV)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## formatting, lint, types, imports; C without a warning from gcc and clang
	@.ci/packages $(PYTHON) headers
	@$(MAKE) --no-print-directory --output-sync=target -j$(JOBS) $(CHECKS)

# The longest first, as they run side by side.
CHECKS := check-types check-gcc check-clang check-fuzz check-foreign check-style
.PHONY: $(CHECKS)
check-types:
	$(VENV)/mypy
check-gcc check-clang: check-%:
	CC=$* $(VENV)/python cext/build.py --into build/check-$*
check-fuzz:
	$(MAKE) -C tests/fuzz check
check-foreign:
	$(MAKE) -C tests/native check-foreign
check-style:
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports --no-cache

asan: packages ## the C tests with AddressSanitizer and UBSan
	$(MAKE) -j$(JOBS) -C tests/native run-asan

tsan: packages ## the C tests with ThreadSanitizer
	$(MAKE) -j$(JOBS) -C tests/native run-tsan

foreign: ## the C tests as of arm64, arm, ppc64le, riscv64 and s390x, by qemu (minutes)
	@.ci/packages $(PYTHON) foreign
	$(MAKE) -j$(JOBS) -C tests/native run-foreign

fuzz: setup ## each fuzz target for SECONDS, each parser for a tenth of that
	$(MAKE) -j$(JOBS) -C tests/fuzz run SECONDS=$(SECONDS)
	$(VENV)/python -m tests.fuzz.parsers --seconds $$(($(SECONDS) / 10 + 1)) --jobs $(JOBS)

netns-asan: setup ## tests/netns, the C under AddressSanitizer and UBSan (root; ARGS for pytest)
	$(VENV)/python -m tests.sanitized address $(ARGS)

netns-tsan: setup ## tests/netns, the C under ThreadSanitizer (root; ARGS for pytest)
	$(VENV)/python -m tests.sanitized thread $(ARGS)

counts: packages ## instructions a packet in the hot loop; fails if they moved by 5 %
	$(MAKE) -C bench/micro counts

soak: setup ## traffic, upgrades, kills and broken surroundings for MINUTES (root)
	$(VENV)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

bench: setup ## side by side with the kernel's vxlan device (root; five minutes)
	$(MAKE) -C bench run PYTHON=$(CURDIR)/$(VENV)/python

image: packages ## the container image, from nothing: build/image/fwd.tar (root)
	deploy/build-image build/image/fwd.tar

image-test: setup image ## the image with the manifests' rights, between nodes of a lab (root)
	$(VENV)/python -m pytest tests/image -rA $(ARGS)

setup: packages .venv/ready build/tools/ready ## all that the others need: Debian packages, .venv, tools, the C module
	@$(MAKE) --no-print-directory fwd/_plane.abi3.so

packages:
	@.ci/packages $(PYTHON)

# Installs the C module as well; so the flags are written down first.
.venv/ready: pyproject.toml setup.py | packages build/flags
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

build/tools/ready: tests/deploy/get_tools.py | .venv/ready
	$(VENV)/python $< $(@D)

fwd/_plane.abi3.so: build/flags setup.py $(wildcard $(addprefix cext/*,.c .h .def .py) cext/traffic/*.[ch])
	$(VENV)/python cext/build.py

# Changes only when its content does.
build/flags: FORCE
	@mkdir -p build
	@cmp -s $@ - <<<'$(FLAGS)' || echo '$(FLAGS)' >$@

clean: ## what was built
	rm -rf build dist *.egg-info fwd/_*.so
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
	for d in tests/native tests/fuzz; do [[ ! -e $$d/Makefile ]] || $(MAKE) -C $$d clean; done

distclean: clean ## and the virtual environment
	rm -rf .venv
