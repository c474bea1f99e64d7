"""`python -m multimcp` is `multi-mcp`."""

import sys

from .cli import main

sys.exit(main())
