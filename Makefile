# Needs Python >= 3.11 and make; sets up everything else in .venv.
PYTHON ?= python3
VENV := .venv
# The servers in mcp.json are started as `python`: let it be the one with everything installed.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run test lock clean

run: $(VENV)/run.stamp  ## serve mcp.json over HTTP (/mcp and /sse on one port)
	python main.py --transport sse $(ARGS)

test: $(VENV)/test.stamp  ## lint and all tests, as CI runs them
	tox $(ARGS)

lock:  ## pin the dependencies anew
	uv pip compile -q --universal --python-version 3.11 --generate-hashes pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --group fastmcp -c requirements-dev.txt pyproject.toml -o requirements-fastmcp.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --group node -o requirements-node.txt
	uv run -q --no-project --with-requirements requirements-node.txt python -m tests.npm.node

clean:
	rm -rf $(VENV) .tox .coverage .coverage.*

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

$(VENV)/test.stamp: requirements-dev.txt | $(VENV)/bin/python
	python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@
