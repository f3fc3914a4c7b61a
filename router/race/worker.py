"""Mock workers and a client of the race: HTTP/1.1 on asyncio's protocols, without dependencies.

A worker answers at once (or after a delay), unary or as a stream of events; each answer names the worker in its body,
so that the client knows where a request went, whatever a router does to headers.
"""

import asyncio
import json
import time


class Worker(asyncio.Protocol):
    """One connection to one mock worker."""

    def __init__(self, name, delay_s, open_connections):
        self.name, self.delay_s, self.buffer, self.open_connections = name, delay_s, bytearray(), open_connections

    def connection_made(self, transport):
        self.transport = transport
        self.open_connections.add(transport)

    def connection_lost(self, _):
        self.open_connections.discard(self.transport)

    def data_received(self, data):
        self.buffer += data
        while (message := take_message(self.buffer)) is not None:
            head, body = message
            if head.count(b" ") < 2:
                self.transport.close()
                return
            method, path = head.split(b" ", 2)[:2]
            if method != b"POST":
                self.answer(json.dumps(about(path.decode(), self.name)).encode())
                continue
            request = json.loads(body)
            # Some routers rename the field on its way.
            chunks = request.get("max_tokens") or request.get("max_completion_tokens") or 1
            if request.get("stream"):
                asyncio.ensure_future(self.stream(chunks))
            elif self.delay_s:
                asyncio.get_running_loop().call_later(self.delay_s, self.complete)
            else:
                self.complete()

    def complete(self):
        self.answer(json.dumps(completion(self.name)).encode())

    def answer(self, body):
        if not self.transport.is_closing():
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)

    async def stream(self, chunks):
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        event = b"data: " + json.dumps(completion(self.name)).encode() + b"\n\n"
        framed = b"%x\r\n%s\r\n" % (len(event), event)
        for _ in range(chunks):
            # One event a packet, as an engine sends them.
            await asyncio.sleep(0.004)
            if self.transport.is_closing():
                return
            self.transport.write(framed)
        done = b"data: [DONE]\n\n"
        self.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done))


def completion(name):
    choice = {"index": 0, "text": " yes", "message": {"role": "assistant", "content": " yes"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": name, "object": "text_completion", "created": 0, "model": "mock", "choices": [choice], "usage": usage}


def about(path, name):
    """What routers ask of a worker when they start."""
    if path.startswith("/v1/models"):
        return {"object": "list", "data": [{"id": "mock", "object": "model", "owned_by": "vllm", "max_model_len": 262144}]}
    return {"status": "ok", "version": "0.25.1", "model_path": "mock", "model_id": "mock", "served_model_name": "mock",
            "tp_size": 1, "dp_size": 1, "load": 0, "is_generation": True, "internal_states": [{}], "worker": name}


def take_message(buffer):
    """A whole message from the start of the buffer: head and body; none if it is not there yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end])
    lower, rest = head.lower(), end + 4
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(lower[at + 17:].split(b"\r\n", 1)[0])
        if len(buffer) < rest + length:
            return None
        body = bytes(buffer[rest:rest + length])
        del buffer[:rest + length]
        return head, body
    if b"\r\ntransfer-encoding: chunked" in lower:
        body = bytearray()
        while True:
            line = buffer.find(b"\r\n", rest)
            if line < 0:
                return None
            length = int(bytes(buffer[rest:line]).split(b";")[0], 16)
            if len(buffer) < line + 4 + length:
                return None
            body += buffer[line + 2:line + 2 + length]
            rest = line + 4 + length
            if length == 0:
                del buffer[:rest]
                return head, bytes(body)
    del buffer[:rest]
    return head, b""


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self):
        self.buffer, self.waiter, self.first_event_at = bytearray(), None, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        if self.first_event_at is None and b"data: " in self.buffer:
            self.first_event_at = time.perf_counter()
        message = take_message(self.buffer)
        if message is not None and self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            waiter.set_result(message)

    def connection_lost(self, _):
        if self.waiter is not None:
            self.waiter.set_exception(ConnectionError("the connection was closed"))
            self.waiter = None

    async def post(self, path, body):
        self.waiter, self.first_event_at = asyncio.get_running_loop().create_future(), None
        self.transport.write(b"POST %s HTTP/1.1\r\nhost: race\r\ncontent-type: application/json\r\n"
                             b"content-length: %d\r\n\r\n" % (path, len(body)) + body)
        head, answer = await asyncio.wait_for(self.waiter, 60)
        if b" 200 " not in head[:13]:
            raise RuntimeError(f"{head[:120]!r} {answer[:200]!r}")
        return answer


async def start_workers(ports, delay_s):
    loop = asyncio.get_running_loop()
    servers = []
    for index, port in enumerate(ports):
        name = f"worker-{index}"
        connections = set()
        make = lambda name=name, connections=connections: Worker(name, delay_s, connections)
        server = await loop.create_server(make, "127.0.0.1", port, backlog=512)
        servers.append((server, connections))
    return servers


def kill(server):
    """Ends a worker as a killed process ends: nothing listens any more, and every connection is reset."""
    listening, connections = server
    listening.close()
    for transport in list(connections):
        transport.abort()
