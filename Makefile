# Needs Python >= 3.11 and make; sets up everything else in .venv.
PYTHON ?= python3
VENV := .venv
# The servers in mcp.json are started as `python`: let it be the one with everything installed.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The image. TARGET=full has Node.js for `npx` servers. BASE_IMAGE is the Dockerfile's own unless given. Where builds reach
# no package index: `make wheelhouse` with the base's version of Python, then `make docker-build PIP_NO_INDEX=1`.
DOCKER ?= docker
IMAGE ?= multi-mcp:latest
TARGET ?= slim
CONTAINER ?= multi-mcp

.PHONY: run test bench docker-build docker-run wheelhouse lock clean

run: $(VENV)/run.stamp  ## serve mcp.json over HTTP (/mcp and /sse on one port)
	python main.py --transport sse $(ARGS)

test: $(VENV)/test.stamp  ## lint and all tests, as CI runs them
	tox $(ARGS)

bench: $(VENV)/test.stamp  ## measure it beside other proxies: see docs/performance.md
	tox -e bench -- $(ARGS)

docker-build:  ## make the image
	$(DOCKER) build --target $(TARGET) --tag $(IMAGE) \
		$(foreach name,BASE_IMAGE PIP_NO_INDEX,$(if $($(name)),--build-arg $(name)=$($(name)))) .

docker-run:  ## serve the image's demo servers on 127.0.0.1:8080
	$(DOCKER) run --pull never --rm --name $(CONTAINER) --publish 127.0.0.1:$(or $(MULTI_MCP_PORT),8080):8080 \
		--read-only --tmpfs /tmp:exec --cap-drop ALL --security-opt no-new-privileges $(IMAGE) $(ARGS)

wheelhouse: | $(VENV)/bin/python  ## download what `make docker-build PIP_NO_INDEX=1` needs
	python -m pip download -q --disable-pip-version-check --only-binary :all: --require-hashes --dest $@ \
		-r requirements.txt -r requirements/image.txt -r requirements/node.txt

lock:  ## pin the dependencies anew
	uv run -q --no-project requirements/lock.py
	uv run -q --no-project --with-requirements requirements/node.txt python -m tests.npm.node

clean:
	rm -rf $(VENV) wheelhouse .tox

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

$(VENV)/test.stamp: requirements/dev.txt requirements.txt | $(VENV)/bin/python
	python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@
