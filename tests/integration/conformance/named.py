"""A correct proxy over stdio that names things in its own way: `named.py STYLE CONFIG`."""

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.integration.conformance.broken.extending import Extended
from tests.integration.conformance.broken.mux import Backend, Call, serve

STYLES: dict[str, Callable[[str, str], str]] = {
    "slug": lambda server, own: f"{server}-{re.sub('[^a-z0-9]+', '-', own.lower())}"[:48],
    "hashed": lambda server, own: f"{own[:3]}_{server}_{hashlib.sha256((server + own).encode()).hexdigest()[:8]}",
    "none": lambda server, own: own,
}


class Named(Extended):
    """It lists everything under the name that the style makes, and finds what is called among all that it lists."""

    def public(self, backend: Backend, method: str, own: str) -> str:
        prompts = method == "prompts/list"
        if sys.argv[1] == "none" and not prompts:
            return super().public(backend, method, own)
        style = STYLES[sys.argv[1]]
        return style(backend.name, own) if method in ("tools/list", "prompts/list") else self.public_uri(backend, own)

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        for backend in self.backends.values():
            await backend.connected()
            await self.learn(backend, method, call)
            for own in self.lists.get((backend, method)) or {}:
                if self.public(backend, method, own) == public:
                    return backend, own
        return await super().route_name(call, method, public)

    def public_uri(self, backend: Backend, uri: str) -> str:
        return f"{backend.name}|{uri}"

    def located(self, public: str) -> Any:
        name, _, uri = public.partition("|")
        backend = self.backends.get(name)
        return (backend, uri) if backend and uri else None


if __name__ == "__main__":
    asyncio.run(serve(Named(Path(sys.argv[2]))))
