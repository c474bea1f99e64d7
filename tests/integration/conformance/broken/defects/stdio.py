"""The process over stdio: proxies that break what is required of them."""

import asyncio
import os
import signal
import subprocess
import sys

from tests.integration.conformance.broken.breaking import breaks
from tests.integration.conformance.broken.mux import Message, Mux


@breaks("stdio:stdout:only-messages", symptom="what is no message is on stdout")
class LogsToStdout(Mux):
    """It logs to stdout."""

    def receive(self, message: Message) -> None:
        if "method" in message:
            print("INFO: received", message["method"], flush=True)
        super().receive(message)


@breaks("stdio:input:invalid", symptom="the process closed its stdout")
class EndsOnGarbage(Mux):
    """A line that is no message ends it."""

    def receive_garbage(self) -> None:
        os._exit(1)


@breaks("stdio:input:eof", symptom="it has not exited 5 s after its stdin")
class IgnoresEof(Mux):
    """It stays when its client has gone."""

    async def run(self, reader: asyncio.StreamReader) -> None:
        await super().run(reader)
        await asyncio.Event().wait()


@breaks("stdio:signal:term", symptom="it has not exited 5 s after SIGTERM")
class IgnoresSigterm(Mux):
    """It stays when it is told to end."""

    async def run(self, reader: asyncio.StreamReader) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        await super().run(reader)


@breaks("stdio:backends:reaped", symptom="processes of its backends are left")
class LeavesServers(Mux):
    """It ends, and its servers stay: somebody else still holds their stdin, for ten seconds."""

    async def close(self) -> None:
        streams = [backend.process.stdin for backend in self.backends.values() if backend.process is not None]
        held = [stream.get_extra_info("pipe").fileno() for stream in streams if stream is not None]
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(10)"],
            pass_fds=held,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os._exit(0)
