"""Tells what a process of the proxy holds, from a thread of its own; put into the proxy before it starts.

Each connection to the socket at `path` gets one JSON document: the asyncio tasks, the objects of our own classes, and
the types that have most objects.
"""

import asyncio
import gc
import json
import socket
import threading
from collections import Counter

SHOWN = 60


def start(path: str) -> None:
    """Listen, until the process ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()


def _serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(_look()).encode())


def _look() -> dict[str, object]:
    gc.collect()
    types: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        types[f"{kind.__module__}.{kind.__qualname__}"] += 1
        if isinstance(each, asyncio.AbstractEventLoop):
            tasks.update(task.get_coro().__qualname__ for task in asyncio.all_tasks(each))  # type: ignore[union-attr]
    ours = sum(number for name, number in types.items() if name.startswith("multimcp."))
    return {"tasks": sum(tasks.values()), "by task": tasks, "objects": ours, "by type": dict(types.most_common(SHOWN))}
