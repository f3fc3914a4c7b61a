"""A proxy that notes when every event of every stream passed, so that each client's figures can be recomputed.

It copies bytes both ways and looks at copies of them afterwards: what it notes is when the server's bytes were handed on to
the client, not when they were understood.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field


@dataclass
class Exchange:
    """One request and the times (s, monotonic) at which events of its answer passed."""

    started: float
    # Events that carry output, and all events with data, `[DONE]` among them.
    output: list = field(default_factory=list)
    events: list = field(default_factory=list)
    tokens: int = 0
    status: int = 0


class Recorder:
    """Listens on a free port of the loopback and hands everything on to `host:port`."""

    def __init__(self, host, port):
        self.upstream = (host, port)
        self.segments = []  # of each connection: (time, from the client?, bytes)

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _connection(self, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            writer.close()
            return
        segments = []
        self.segments.append(segments)
        await asyncio.gather(
            self._copy(reader, up_writer, segments, True), self._copy(up_reader, writer, segments, False)
        )

    @staticmethod
    async def _copy(reader, writer, segments, from_client):
        try:
            while data := await reader.read(65536):
                segments.append((time.perf_counter(), from_client, data))
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def exchanges(self):
        """The streamed completions that passed, in order of their starts."""
        found = []
        for segments in self.segments:
            current, rest = None, b""
            for at, from_client, data in segments:
                if from_client:
                    # Bodies follow their heads at once; a new head opens a new exchange.
                    if data.startswith(b"POST ") and b"/completions" in data.split(b"\r\n", 1)[0]:
                        current, rest = Exchange(at), b""
                        found.append(current)
                    continue
                if current is None:
                    continue
                rest += data
                if current.status == 0 and rest.startswith(b"HTTP/1.1 ") and len(rest) >= 12:
                    current.status = int(rest[9:12])
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        note(current, at, line[5:].strip())
        return sorted((e for e in found if e.output), key=lambda e: e.started)


def note(exchange, at, data):
    """Adds one event."""
    exchange.events.append(at)
    if data == b"[DONE]":
        return
    chunk = json.loads(data)
    if chunk.get("usage"):
        exchange.tokens = chunk["usage"]["completion_tokens"]
    choice = (chunk.get("choices") or [{}])[0]
    delta = choice.get("delta")
    if "text" in choice or (delta and delta.get("content")):
        exchange.output.append(at)
