"""Starts Multi-MCP from a checkout: `python main.py --help`."""

import sys

from multimcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
