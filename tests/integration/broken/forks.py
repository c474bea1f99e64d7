"""Fixture servers without their start-up: forked from a process that has imported the SDK already.

A server on the SDK imports for more than a second of CPU, and each broken proxy starts its own. Run as a program, this
is the stub that stands for such a server in a proxy's configuration: it hands its standard streams to the process that
forks, ends with the server's exit code, and takes the server with it when it is killed.
"""

import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MESSAGE = 65536


@contextmanager
def forking(path: Path, servers: Path) -> Iterator[tuple[str, ...]]:
    """A process that forks servers; yields how a command begins that is to be started this way.

    Args:
        path: of the socket to be made.
        servers: the folder of the fixture servers.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                _serve(listener, servers)
            os._exit(0)
    try:
        yield sys.executable, "-I", "-S", __file__, str(path)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(listener: socket.socket, servers: Path) -> None:
    os.setsid()
    sys.path.insert(0, str(servers))
    import _serving  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a server
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _start(connection)
        connection.close()


def _start(connection: socket.socket) -> None:
    """Fork the server that is asked for, and tell its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
    asked = json.loads(text)
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        sys.argv = asked["argv"]
        code = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            os._exit(code)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.send(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _end_with(connection: socket.socket) -> None:
    """End this process when the stub does."""
    with suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """The stub."""
    path, *argv = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        asked = json.dumps({"argv": argv, "env": dict(os.environ), "cwd": os.getcwd()}).encode()
        socket.send_fds(connection, [asked], [0, 1, 2])
        for stream in (0, 1):
            os.close(stream)  # or the end of the server would not be seen
        code = connection.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    os._exit(main())
