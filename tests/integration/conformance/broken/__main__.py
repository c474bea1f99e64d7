"""Serve a mux, over stdio or, with --port, over HTTP.

python tests/integration/conformance/broken --config mcp.json [--port PORT [--each-request]] [--strict]
python tests/integration/conformance/broken --config mcp.json [--port PORT] [--defect REQUIREMENT | --modest NAME]
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.integration.conformance.broken.defects import DEFECTS
from tests.integration.conformance.broken.extending import Extended
from tests.integration.conformance.broken.front import Front, run
from tests.integration.conformance.broken.modest import MODEST
from tests.integration.conformance.broken.mux import serve
from tests.integration.conformance.broken.odd import EachRequest, Strict

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--config", type=Path, required=True, help="mcpServers, as JSON")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, help="serve /sse and /mcp there, instead of stdio")
parser.add_argument("--defect", choices=DEFECTS, metavar="REQUIREMENT", help="the requirement to break")
parser.add_argument("--modest", choices=MODEST, help="one that conforms and offers little")
parser.add_argument("--each-request", action="store_true", help="start servers for each request")
parser.add_argument("--strict", action="store_true", help="leave out servers with odd lists")
args = parser.parse_args()
plain = Strict if args.strict else Extended
make = DEFECTS[args.defect].mux if args.defect else MODEST[args.modest] if args.modest else plain
front = EachRequest if args.each_request else Front


async def main() -> None:
    await (serve(make(args.config)) if args.port is None else run(front(make, args.config), args.host, args.port))


asyncio.run(main())
