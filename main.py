"""Starts Multi-MCP from a checkout: `python main.py --help`."""

# What `uv run main.py` installs: the dependencies in pyproject.toml, without those for development.
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "msgspec>=0.20",
#   "aiohttp>=3.13",
#   "aiohappyeyeballs>=2.5",
#   "multidict>=6.0",
#   "yarl>=1.17",
#   "anyio>=4.16",
#   "starlette>=1.0",
#   "uvicorn>=0.40",
#   "watchfiles>=1.1",
#   "httptools>=0.6.4",
#   "uvloop>=0.21; sys_platform != 'win32'",
#   "mcp>=2.3,<3",
#   "mcp-types>=2.3,<3",
# ]
# ///

import sys

from multimcp.serving.cli import main

if __name__ == "__main__":
    sys.exit(main())
