#!/bin/sh
# Production mode: serves the GitHub, Brave Search and Context7 servers of msc/mcp.json over HTTP.
#
#   GITHUB_PERSONAL_ACCESS_TOKEN=... BRAVE_API_KEY=... ./start-server.sh [OPTIONS OF multi-mcp]
#
# Rules:
# - Secrets come from the environment only. With MULTI_MCP_API_KEY, clients have to send that key.
# - msc/mcp.json is the operator's and ignored by git; it is made from examples/config/production.json once.
# - What is missing is named before anything starts. Without a variable only the servers that need it are not served;
#   without npx nothing could be.
# - It runs in the checkout, wherever it is called: relative paths in msc/mcp.json and in options begin there.
# - The proxy replaces the shell (exec), so that signals reach it.
set -eu
cd "$(dirname "$0")"
config=msc/mcp.json

say() { printf 'start-server.sh: %s\n' "$*" >&2; }

if [ ! -e "$config" ]; then
  mkdir -p msc
  cp examples/config/production.json "$config"
  say "made $config from examples/config/production.json; edit it as you like"
fi

if grep -q '"npx"' "$config" && ! command -v npx >/dev/null; then
  say "npx is not on PATH, and $config starts servers with it; install Node.js 20.18 or newer"
  exit 2
fi

# ${NAME}, but not ${NAME:-default}, which may be unset.
for name in $(grep -o '\${[A-Za-z_][A-Za-z0-9_]*}' "$config" | tr -d '${}' | sort -u); do
  if [ -z "$(printenv "$name")" ]; then
    say "$name is not set; the servers in $config that need it are not served until you export it and start again"
    unset "$name"  # an empty one is no key either
  fi
done

# As `make run` sets it up, and keeps it up to date; an environment that was made in another way and works is left alone.
if [ -e .venv/run.stamp ] || ! .venv/bin/python main.py --version >/dev/null 2>&1; then
  command -v make >/dev/null || { say "make is not on PATH, and sets up .venv; install it"; exit 2; }
  make --silent .venv/run.stamp >&2
fi
exec .venv/bin/python main.py --transport http --config "$config" "$@"
