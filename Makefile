# Two commands to remember: `make demo` and `make test`. The work is done in scripts/.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON_IN := .venv/bin/python

.PHONY: help demo example test check lint unit coverage test-matrix mutants format docs bench bench-peers bench-sockets bench-tenants profile chaos incident lock release clean

help: ## what this Makefile can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the portal with two organisations, ready to sign in to; LISTEN=127.0.0.1:9080 PUBLIC_URL=… for another address
	@exec scripts/demo.sh $(if $(LISTEN),--listen "$(LISTEN)") $(if $(PUBLIC_URL),--public-url "$(PUBLIC_URL)") \
	  $(if $(DATA),--data "$(DATA)")

example: ## a page of your own with the demo: NAME=vanilla, htmx or react-vite; LISTEN=127.0.0.1:9080 for another address
	@exec scripts/example.sh "$(NAME)" $(if $(LISTEN),--listen "$(LISTEN)")

test: ## every check and every test, as CI runs them
	@scripts/setup.sh test
	@$(PYTHON_IN) scripts/run_tests.py

check: ## what to run before each commit: format, lint, types, import rules, file sizes, unit tests
	@scripts/setup.sh dev
	@$(PYTHON_IN) scripts/run_tests.py check

lint: ## format, lint, types, import rules, file sizes, shell scripts, Dockerfile, documentation
	@scripts/setup.sh dev
	@$(PYTHON_IN) scripts/run_tests.py lint

unit: ## the quick tests only
	@scripts/setup.sh dev
	@$(PYTHON_IN) scripts/run_tests.py unit

coverage: ## how much of the portal the tests run, with a lower limit; `make test` includes it from Python 3.12 on
	@scripts/setup.sh test
	@$(PYTHON_IN) scripts/run_tests.py coverage

test-matrix: ## tests on Python 3.11, 3.12 and 3.13; VERSIONS=3.13 KINDS=unit for less
	@scripts/setup.sh test
	@scripts/test_matrix.sh

mutants: ## changes of the code that no test notices; PATHS=portal/sessions SAMPLE=50 SECONDS=600 for less
	@scripts/setup.sh dev
	@$(PYTHON_IN) scripts/mutants.py $(if $(PATHS),--paths $(PATHS)) $(if $(TESTS),--tests $(TESTS)) \
	  $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SECONDS),--seconds $(SECONDS))

format: ## put the code into shape
	@scripts/setup.sh dev
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: ## the documentation as a site, in site/
	@scripts/setup.sh dev
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build

bench: ## measure API calls, token renewals, ID tokens and start-up
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.proxy
	@$(PYTHON_IN) -m bench.refresh
	@$(PYTHON_IN) -m bench.id_token
	@$(PYTHON_IN) -m bench.startup
	@$(PYTHON_IN) -m bench.flood
	@$(PYTHON_IN) -m bench.client_flood --seconds 5

bench-peers: ## the portal beside other products; ONLY=calls,paced ROUNDS=3 for less, WRITE=1 for docs/performance.md
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.peers $(if $(ONLY),--only $(ONLY)) $(if $(PRODUCTS),--products "$(PRODUCTS)") \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(WRITE),--write)

bench-sockets: ## 1,000 WebSockets for 10 minutes: memory, latency, CPU time; ARGS="--minutes 1" for less
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.sockets $(ARGS)

bench-tenants: ## 10,000 tenants: start-up, memory, how soon a change is served, latency; ARGS="--only start" for less
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.tenants $(ARGS)

profile: ## where a portal process spends its time under load; ARGS="--what login --sort cumtime" for more
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.profile $(ARGS)

chaos: ## 15 minutes of killed processes, a locked database and a failing provider; MINUTES=1 for less
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.chaos --minutes $${MINUTES:-15} --database $${DATABASE:-sqlite}

incident: ## ten tenants, and the provider of one fails for 5 minutes; ARGS="--quick --how hangs" for less
	@scripts/setup.sh test
	@$(PYTHON_IN) -m bench.incident $(ARGS)

lock: ## resolve the newest allowed packages into the lock files
	@scripts/lock.sh

release: ## source distribution and wheel in dist/, tried in a fresh environment
	@scripts/setup.sh dev
	@$(PYTHON_IN) scripts/release.py

clean: ## remove everything that was installed or made, except var/
	rm -rf .venv node_modules .cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist htmlcov site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
