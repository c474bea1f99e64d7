"""Fixture servers without their start-up: forked from a process that has imported the SDK already.

Importing the SDK takes more than a second of CPU, and every world has servers of its own. So a fixture server's command
is a stub: it hands its standard streams to the process that forks, and ends with the server's exit code. To whoever
started it, it is the server: it ends when the server does, and takes the server with it when it is killed. That goes
across containers, too, as long as they run on one kernel and share the folder of the socket.

    python forks.py serve SOCKET FOLDER     forks the fixture servers of a folder
    python forks.py SOCKET FILE ARGUMENT…   the stub of one of them

Standard library only, since it is started often.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

STDIN = 0
MESSAGE = 2**20
"""Bytes that the command line and the environment of a server may have."""


def serve(path: str, folder: str) -> None:
    """Fork servers until stdin ends, then end them all; the socket is called `.new` until it is ready."""
    if os.getsid(0) != os.getpid():  # the first process of a container leads a session already
        os.setsid()  # so that all servers can be killed together
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        os.chmod(f"{path}.new", 0o777)  # a stub in a container is another user; the folder says who gets here
        sys.path.insert(0, folder)
        importlib.import_module("_serving")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a server
        listener.listen(64)
        os.rename(f"{path}.new", path)
        while STDIN not in select.select([listener.fileno(), STDIN], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _start(connection)
            connection.close()
    os.killpg(0, signal.SIGKILL)


def _start(connection: socket.socket) -> None:
    """Fork the server that is asked for, and tell its exit code. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams: list[int] = []
    try:
        text, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
        asked = json.loads(text)
        pid = os.fork()
        if pid == 0:
            _run(connection, streams, asked)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(pid, 0)
        connection.send(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    finally:
        os._exit(0)


def _run(connection: socket.socket, streams: list[int], asked: dict[str, Any]) -> None:
    """Be the server. Does not return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The old ones remember what kind of file was there. Like them, these are there to the end.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["env"])
    with suppress(OSError):  # it may be a folder of another container
        os.chdir(asked["cwd"])
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    sys.argv = asked["argv"]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """End this process when the stub does."""
    with suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def stand_for(path: str, argv: list[str]) -> int:
    """Be the stub of a server; returns the server's exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        asked = json.dumps({"argv": argv, "env": dict(os.environ), "cwd": os.getcwd()}).encode()
        socket.send_fds(connection, [asked], [0, 1, 2])
        for stream in (0, 1):
            os.close(stream)  # or whoever reads and writes them would not see the server close them
        code = connection.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        os._exit(stand_for(sys.argv[1], sys.argv[2:]))
