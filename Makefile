PYTHON ?= python3
VENV ?= .venv
VENV_LAMBDA = $(VENV)-lambda
POETRY ?= .venv-lock/bin/poetry
ARGS ?=
# Processes of pytest: a deployment waits a lot, and other tests run meanwhile.
PROCESSES ?= 2
# Processes that play the end-to-end tests; there are six deployments. With more of them than processors, functions run out of time.
DEPLOYMENTS ?= auto
FUZZ_INPUTS ?= 5000000
FUZZ_SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

bin := $(VENV)/bin

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z0-9-][a-z0-9 -]*\):.*## /  make \1|/p' Makefile | awk -F '|' '{ printf "%-42s%s\n", $$1, $$2 }'
	@echo
	@echo "  Variables: PYTHON=$(PYTHON) VENV=$(VENV) PROCESSES=$(PROCESSES) ARGS=... (more for pytest or poetry lock)"

.PHONY: up
up: ## Run the demo: set up, then a back end and the development server until Ctrl-C
	@tools/set-up "$(PYTHON)" "$(VENV)" up
	@$(bin)/python tools/foreground.py $(bin)/python -m examples.chat

.PHONY: test
test: infra-tools browser pushpin set-up set-up-lambda set-up-audit ## Run all tests with coverage (a part: ARGS="-k name --no-cov")
	@LOCAL_AWS_RUNTIME_PYTHON="$(CURDIR)/$(VENV_LAMBDA)/bin/python" $(bin)/python -m pytest --cov -n $(PROCESSES) --dist loadscope $(ARGS)

.PHONY: e2e
e2e: infra-tools set-up set-up-lambda set-up-audit ## Run the end-to-end tests, several deployments at once (ARGS="-k inbound")
	@LOCAL_AWS_RUNTIME_PYTHON="$(CURDIR)/$(VENV_LAMBDA)/bin/python" $(bin)/python -m pytest tests/e2e -n $(DEPLOYMENTS) --dist loadscope $(ARGS)

.PHONY: check
check: set-up set-up-lock ## Run the static checks: format, lint, types, lock file
	@$(bin)/ruff format --check --quiet . || { echo "make: ruff format would change files; run make format" >&2; exit 1; }
	@$(bin)/ruff check --quiet .
	@$(bin)/mypy --no-error-summary
	@tools/requirements $(POETRY) --check

.PHONY: format
format: set-up ## Format the code and apply the safe fixes of ruff
	@$(bin)/ruff check --quiet --fix-only .
	@$(bin)/ruff format --quiet .

.PHONY: synth
synth: infra ## Write the Terraform configuration of both stages to cdktf.out
	@$(bin)/python main.py

.PHONY: deploy-staging deploy-production
deploy-staging deploy-production: deploy-%: infra ## Deploy a stage to AWS, and write its entry in cdk-outputs.json
	@$(bin)/python -m tools.stages deploy $* $(ARGS)

.PHONY: diff-staging diff-production
diff-staging diff-production: diff-%: infra ## Show what a deploy would change
	@$(bin)/python -m tools.stages diff $* $(ARGS)

.PHONY: destroy-staging destroy-production
destroy-staging destroy-production: destroy-%: infra ## Remove a stage from AWS
	@$(bin)/python -m tools.stages destroy $* $(ARGS)

.PHONY: verify-aws
verify-aws: infra ## Measure on a real account what a local AWS cannot show: an hour, less than a dollar (ARGS="--only R3 --keep")
	@tools/set-up "$(PYTHON)" "$(VENV)" up
	@$(bin)/python tools/foreground.py $(bin)/python -m tools.verify_aws $(ARGS)

.PHONY: socket
socket: ## Open a socket to try a deployment with: URL=wss://...
	@tools/set-up "$(PYTHON)" "$(VENV)" up
	@$(bin)/websockets "$(or $(URL),$(error set the URL: make socket URL=wss://...))"

.PHONY: local-aws
local-aws: ## Run a local AWS until Ctrl-C, to deploy to without an account
	@tools/set-up "$(PYTHON)" "$(VENV)" local
	@tools/set-up "$(PYTHON)" "$(VENV_LAMBDA)" lambda
	@$(bin)/python tools/foreground.py $(bin)/python -m local_aws --runtime-python "$(VENV_LAMBDA)/bin/python"

.PHONY: deploy-local
deploy-local: infra ## Deploy to the local AWS
	@$(bin)/python -m tools.local deploy

.PHONY: chat-local
chat-local: ## Run the chat's backend for the stack in the local AWS
	@tools/set-up "$(PYTHON)" "$(VENV)" local
	@$(bin)/python tools/foreground.py $(bin)/python -m tools.local chat

.PHONY: outputs
outputs: infra ## Write cdk-outputs.json again, from the Terraform states
	@$(bin)/python -m tools.stages outputs

.PHONY: bench
bench: set-up pushpin ## Run the benchmarks, next to Pushpin
	@$(bin)/python -m bench $(ARGS)

.PHONY: bench-fan-out
bench-fan-out: set-up ## Run the benchmark of the fan-out on AWS, against stubs (cases: ARGS="queued capped")
	@$(bin)/python -m bench.fan_out $(ARGS)

.PHONY: soak
soak: set-up ## Run ten minutes of churn with 1,000 sockets on the development server (less: ARGS="--seconds 60 --sockets 200")
	@$(bin)/python -m tests.churn $(ARGS)

.PHONY: fuzz
fuzz: set-up ## Play 5,000,000 new hostile inputs (another number: FUZZ_INPUTS=..., the same again: FUZZ_SEED=...)
	@seed=$(FUZZ_SEED); echo "FUZZ_SEED=$$seed"; FUZZ_SEED=$$seed FUZZ_INPUTS=$(FUZZ_INPUTS) \
	$(bin)/python -m pytest tests/fuzz -n $(PROCESSES) --dist loadscope -o faulthandler_timeout=0 $(ARGS)

.PHONY: bench-functions
bench-functions: set-up set-up-lambda ## Run the benchmark of one event in a deployed function (cases: ARGS="cold warm")
	@LOCAL_AWS_RUNTIME_PYTHON="$(CURDIR)/$(VENV_LAMBDA)/bin/python" $(bin)/python -m bench.functions $(ARGS)

.PHONY: audit
audit: set-up-audit infra-tools ## Look up known vulnerabilities of the locked packages, at PyPI and npm
	@tools/audit/advisories .venv-audit/bin

.PHONY: lock
lock: set-up-lock ## Update the lock files after a change of pyproject.toml (all versions: ARGS=--regenerate)
	@POETRY_VIRTUALENVS_CREATE=false $(POETRY) lock $(ARGS)
	@POETRY_VIRTUALENVS_CREATE=false $(POETRY) -C tools/audit lock $(ARGS)
	@tools/requirements $(POETRY)

.PHONY: requirements
requirements: set-up-lock ## Generate the requirements files from poetry.lock
	@tools/requirements $(POETRY)

.PHONY: set-up
set-up: ## Make the complete virtual environment
	@tools/set-up "$(PYTHON)" "$(VENV)" test

.PHONY: clean
clean: ## Remove the virtual environments and the files that tools left behind
	rm -rf .venv .venv-* .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: infra
infra: infra-tools
	@tools/set-up "$(PYTHON)" "$(VENV)" infra

.PHONY: set-up-lambda
set-up-lambda:
	@tools/set-up "$(PYTHON)" "$(VENV_LAMBDA)" lambda

.PHONY: set-up-audit
set-up-audit:
	@tools/set-up "$(PYTHON)" .venv-audit audit

.PHONY: infra-tools
infra-tools:
	@tools/set-up-node
	@tools/check-terraform

.PHONY: set-up-lock
set-up-lock:
ifeq ($(origin POETRY),file)
	@tools/set-up "$(PYTHON)" .venv-lock lock
endif

.PHONY: browser
browser:
	@tools/ensure-debian-packages chromium=chromium chromedriver=chromium-driver

.PHONY: pushpin
pushpin:
	@tools/ensure-debian-packages pushpin=pushpin
