#!/usr/bin/env python3
"""Ten minutes of full load with good and bad clients; fails if the router's memory grows, or if it ends.

    cargo build --release && python3 router/race/soak.py

Beside a closed loop of prompts that repeat and prompts that do not, clients send what is no HTTP, headers that are too
large, bodies that never come, deep and broken JSON, and hang up in the middle of streams. The resident memory after the
first fifth of the time, when the tree has its bound, is compared with that at the end.
"""

import argparse
import asyncio
import json
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from race import body, drive, free_ports, text, wait_until_up  # noqa: E402
from worker import kill, start_workers  # noqa: E402

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: soak\r\ncontent-length: %d\r\n\r\n"
BAD = [
    b"no http at all\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 300_000 + b"\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    HEAD % 4000 + b'{"prompt": "' + b"\xff\xfe" * 100,
    HEAD % 200_000 + b"[" * 200_000,
    HEAD % 30 + b'{"prompt": {"prompt": [}}}}}}}}',
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64,
]


def resident_kib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("the router is gone")


async def good(port, ends, source):
    while time.monotonic() < ends:
        fresh = source.random() < 0.5
        seed = f"fresh {source.random()}" if fresh else f"known {source.randrange(50)}"
        prompts = [body(text(source.choice([500, 4000, 40_000]), seed), True) for _ in range(20)]
        await drive(port, prompts, 4)


async def bad(port, ends, source):
    while time.monotonic() < ends:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(source.choice(BAD))
            await asyncio.wait_for(reader.read(1 << 16), source.choice([0.05, 0.5]))
        except (OSError, asyncio.TimeoutError):
            pass
        writer.transport.abort()


async def fickle(port, ends, source):
    while time.monotonic() < ends:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = json.dumps({"model": "mock", "prompt": "a stream", "stream": True, "max_tokens": 50}).encode()
        writer.write(HEAD % len(request) + request)
        await reader.read(source.choice([1, 400]))
        writer.transport.abort()


async def soak(options):
    ports = free_ports(5)
    servers = await start_workers(ports[1:], 0)
    urls = [f"http://127.0.0.1:{port}" for port in ports[1:]]
    process = subprocess.Popen([options.binary, "router", "--port", str(ports[0]), "--control-port", "0",
                                "--worker-urls", *urls], stdout=subprocess.DEVNULL)
    try:
        await wait_until_up(ports[0], process)
        began = time.monotonic()
        ends = began + options.seconds
        tasks = [asyncio.ensure_future(kind(ports[0], ends, random.Random(f"{kind.__name__} {index}")))
                 for kind, count in [(good, 4), (bad, 3), (fickle, 2)] for index in range(count)]
        samples = []
        while time.monotonic() < ends:
            await asyncio.sleep(options.seconds / 50)
            samples.append((time.monotonic() - began, resident_kib(process)))
        await asyncio.gather(*tasks)
        settled = max(kib for at, kib in samples if at <= options.seconds / 5)
        last = max(kib for at, kib in samples if at >= options.seconds * 0.9)
        print(f"resident memory: {settled} KiB after a fifth of {options.seconds} s, {last} KiB at the end")
        return 0 if last <= settled * 1.25 + 2048 else 1
    finally:
        process.kill()
        process.wait()
        for server in servers:
            kill(server)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/teebench")
    parser.add_argument("--seconds", type=int, default=600)
    sys.exit(asyncio.run(soak(parser.parse_args())))


if __name__ == "__main__":
    main()
