.PHONY: setup demo test lint bench soak dashboards docs lock wheel tree deb image

# what is missing: Debian packages (as root), .venv with locked dependencies
setup:
	@lab/setup.sh

# a compute node with traffic, the agent and Prometheus on it, until Ctrl-C
demo: setup
	@.venv/bin/python -m lab.demo

# all there is to check; ends with pytest's summary
test: lint
	@.venv/bin/python -m pytest -q

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

# the measured claims
bench: setup
	@for script in bench/*.py; do PYTHONPATH=. .venv/bin/python "$$script" || exit; done

# what takes long: the parsers and the text of flows against what nobody thought of, and endurance
SOAK_SECONDS ?= 300
SOAK_CHANGES ?= 10000
soak: setup
	@PYTHONPATH=. .venv/bin/python tests/soak/differential.py $(SOAK_SECONDS)
	@PYTHONPATH=. .venv/bin/python tests/soak/fuzz_openflow.py $(SOAK_SECONDS)
	@PYTHONPATH=. .venv/bin/python tests/soak/endurance.py $(SOAK_SECONDS)
	@PYTHONPATH=. .venv/bin/python tests/soak/links.py $(SOAK_CHANGES)
	@PYTHONPATH=. .venv/bin/python tests/soak/instances.py $(SOAK_SECONDS)

# dashboards/json and dashboards/rules, which are written from Python, and the Helm chart's copies
dashboards: setup
	@.venv/bin/python -m dashboards.build

# the documentation that is written from the code, and the Helm chart's schema
docs: setup
	@.venv/bin/python -m lab.docs

# new lock files from pyproject.toml
lock: setup
	@lab/lock.sh

# what people install, in dist/, dated by its commit: docs/packaging.md
wheel tree deb image: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct || date +%s)
wheel: setup
	@deploy/dist.sh dist

tree: setup
	@deploy/tree.sh build/tree

deb: tree
	@deploy/debian/build.sh build/tree dist

image: tree
	@deploy/container/build.sh build/tree dist
