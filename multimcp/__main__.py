"""`python -m multimcp` is `multi-mcp`."""

import sys

from .serving.cli import main

sys.exit(main())
