# Every target does its own setup: a virtual environment in .venv with what it needs, programs for the tests from Debian. A
# second run reuses it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Which tests: make test TESTS=tests.wire
TESTS ?= tests
RUN ?= python -m
# What of them "make compiled" runs unless TESTS names others: all that a request passes, and real processes.
DATA_PATH := tests.wire tests.routing tests.transport tests.tunnel tests.server tests.client tests.process
COMPILED := .compiled
# More arguments for the demo or the benchmarks: make bench ARGS="--help"
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo recording test compiled coverage fuzz smuggling interop faults astray clients soak kills rollouts chaos bench \
    cluster cluster-test cluster-demo cluster-down dry-run oldest newest lint types docs packages \
    man release lock pin version changelog needs clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(VENV)/.base ## run the whole scenario on this machine: server, pod, laptop, live shares
	$(BIN)/rtunnel demo $(ARGS)

recording: $(VENV)/.test ## run the demo on a terminal and draw it anew: docs/demo.svg, the picture of README.md
	$(BIN)/python -m bench.recording docs/demo.svg

test: $(VENV)/.test needs ## run the tests; the last line is the summary (TESTS=tests.wire for a part)
	$(BIN)/$(RUN) tests.runner $(TESTS)

compiled: $(VENV)/.dev needs ## run the tests of the data path on compiled modules (TESTS=tests.wire for a part); needs gcc, python3-dev
	$(BIN)/python -m bench.compiled
	PYTHONPATH=$(CURDIR)/$(COMPILED) $(BIN)/python -m rtunnel version | grep ' compiled$$'
	PYTHONPATH=$(CURDIR)/$(COMPILED) $(BIN)/python -m tests.runner $(if $(filter tests,$(TESTS)),$(DATA_PATH),$(TESTS))

# Processes that a test kills leave truncated files, which combine warns about.
coverage: $(VENV)/.test ## run the tests, then list the lines that no test ran
	$(BIN)/coverage erase
	@status=0; $(MAKE) --no-print-directory test RUN="coverage run -m" || status=$$?; \
	    $(BIN)/coverage combine --quiet 2>/dev/null; rm -f .coverage.*; $(BIN)/coverage report || status=1; exit $$status

fuzz: $(VENV)/.fuzz ## fuzz each parser for 10 s: make fuzz ARGS="--seconds 600 smux"
	$(BIN)/python -m tests.fuzz $(ARGS)

smuggling: $(VENV)/.test needs ## compare what nginx, Node.js and Go see of thousands of odd heads with what was sent
	$(BIN)/python -m tests.smuggling $(ARGS)

interop: $(VENV)/.test ## run the tests with a real gost and print a table: make interop RTUNNEL_TEST_GOST=/usr/local/bin/gost
	$(BIN)/python -m tests.interop

faults: $(VENV)/.test needs ## measure what visitors see when parts fail and strangers attack, and print tables (ARGS="--help")
	$(BIN)/python -m tests.faults $(ARGS)

astray: $(VENV)/.test needs ## 10,000 requests while people with intercepts come and go: none may go astray (ARGS="--requests 1000")
	$(BIN)/python -m tests.astray $(ARGS)

clients: $(VENV)/.test needs ## database drivers and HTTP clients under rtunnel run: a table of what reaches the pod; root
	$(BIN)/python -m tests.clients

kills: $(VENV)/.test ## kill -9 at 200 random points of reloads and drains; every next start must be clean (ARGS="--times 20")
	$(BIN)/python -m tests.kills $(ARGS)

rollouts: $(VENV)/.test needs ## restart two servers with a Redis 20 times under load; nothing may fail (ARGS="--rounds 2")
	$(BIN)/python -m tests.replicas rollouts $(ARGS)

chaos: $(VENV)/.test needs ## ten minutes in which servers, clients and Redis fail; each failed request is explained (ARGS="--seconds 60")
	$(BIN)/python -m tests.replicas chaos $(ARGS)

soak: $(VENV)/.test ## five minutes of mixed traffic in which parts are killed: nothing leaks, all is counted (ARGS="--minutes 60")
	$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.bench needs ## measure performance, next to nginx and the peers that the environment names
	$(BIN)/python -m bench $(ARGS)

cluster: $(VENV)/.test ## start a Kubernetes of one node in a network namespace; root; minutes the first time
	$(BIN)/python -m tests.cluster up

cluster-test: $(VENV)/.test ## try manifests, inject and rollouts in it (ARGS="rollouts" for a part)
	$(BIN)/python -m tests.cluster test $(ARGS)

cluster-demo: $(VENV)/.test ## play the scenario in it, and leave it for you to play with
	$(BIN)/python -m tests.cluster demo

dry-run: $(VENV)/.test needs ## have the API server of Kubernetes alone judge all manifests; builds it the first time
	$(BIN)/python -m tests.cluster dry-run

cluster-down: $(VENV)/.test ## end it, and leave nothing behind
	$(BIN)/python -m tests.cluster down

oldest: $(VENV)/.dev needs ## run the tests with the oldest dependencies that setup.cfg allows, on Python 3.11
	$(BIN)/tox run --skip-missing-interpreters false -e oldest -- $(TESTS)

newest: $(VENV)/.dev needs ## run the tests with the newest dependencies, pre-releases too, on Python 3.14
	$(BIN)/tox run --skip-missing-interpreters false -e newest -- $(TESTS)

lint: $(VENV)/.dev ## check style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types (mypy, strict)
	$(BIN)/mypy

docs: $(VENV)/.docs ## check the Markdown files, show the changelog's next entry
	$(BIN)/python -m tests.runner tests.test_docs
	$(BIN)/towncrier build --draft

man: $(VENV)/.test ## write the manual pages anew, of the parsers and the table of options
	$(BIN)/python -m tests.reference.pages

packages: $(VENV)/.dev ## build wheel and sdist and try each in a new environment
	PYTHON=$(BIN)/python bash .ci/check-packages

release: $(VENV)/.release ## write a release to dist/: wheel, sdist, image, SBOM, notes, checksums (ARGS="--base IMAGE")
	$(BIN)/python -m release build $(ARGS)

lock: $(VENV)/.release ## take the newest versions of what the image contains, with their hashes: requirements*.lock
	$(BIN)/python -m release lock

pin: $(VENV)/.release ## take the newest digest of the image's base, with skopeo
	$(BIN)/python -m release pin

version: $(VENV)/.release ## set the version wherever it is repeated: make version VERSION=0.2.0
	$(BIN)/python -m release version $(VERSION)

changelog: $(VENV)/.release ## collect newsfragments/ in CHANGELOG.md, for the version that is set
	$(BIN)/python -m release changelog

clean: ## remove everything that the other targets create
	@test ! -e /run/netns/rtunnel-cluster || { echo "the cluster is up: make cluster-down first"; exit 1; }
	rm -rf $(VENV) $(COMPILED) .cluster .tox build dist src/*.egg-info .fuzz .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name dropin.cache -delete

needs:
	@sh tests/needs.sh

# Stamp files: one for the environment, one for each set of packages in it.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "rtunnel needs Python 3.11 or later: make PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.base: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.%: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
