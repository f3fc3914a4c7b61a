#!/usr/bin/env python3
"""Races the router against HAProxy and the Rust routers of PyPI on this machine, and prints a markdown table.

    cargo build --release && python3 router/race/race.py --environments /tmp/race

HAProxy is taken from the PATH (Debian: apt-get install haproxy). Each PyPI router gets a virtual environment of its own
below --environments, made on first use. All contestants face the same mock workers and the same client; the rows are
run for each in turn, and the whole round --repetitions times; a figure is the median. What was measured is kept in
--state, so that a race which was cut short goes on where it was; --minutes ends it between two contestants. CPU is that of the contestant's
process tree, from /proc/*/task/*/schedstat: what the kernel gave it, in nanoseconds. A contestant that does not start
or fails a row is shown as such.
"""

import argparse
import asyncio
import json
import os
import pathlib
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import venv

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from worker import Client, kill, start_workers  # noqa: E402

PYPI = {"sglang-router": "0.3.2", "vllm-router": "0.1.16", "smg": "1.13.0"}
WORKERS = 4


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def environment(root, package):
    """The Python of the package's own environment."""
    path = pathlib.Path(root) / package
    if not (path / "bin" / "python").exists():
        venv.create(path, with_pip=True)
        subprocess.run([path / "bin" / "pip", "install", "-q", f"{package}=={PYPI[package]}"], check=True)
    return path / "bin"


def haproxy_config(port, workers, directory):
    servers = "\n".join(f"  server w{i} 127.0.0.1:{one}" for i, one in enumerate(workers))
    path = pathlib.Path(directory) / "haproxy.cfg"
    path.write_text(f"""global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  balance roundrobin
{servers}
""")
    return path


def command(name, port, workers, options):
    urls = [f"http://127.0.0.1:{one}" for one in workers]
    common = ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware", "--worker-urls", *urls]
    if name == "teebench":
        return [options.binary, "router", "--port", str(port), "--control-port", "0", "--worker-urls", *urls]
    if name == "haproxy":
        return ["haproxy", "-db", "-f", str(haproxy_config(port, workers, options.environments))]
    binaries = environment(options.environments, name)
    metrics = ["--prometheus-port", str(free_ports(1)[0]), "--log-level", "error"]
    if name == "sglang-router":
        return [binaries / "python", "-m", "sglang_router.launch_router", *common, *metrics]
    if name == "vllm-router":
        return [binaries / "vllm-router", *common, *metrics]
    return [binaries / "smg", "launch", *common, *metrics]


def process_tree(root):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    tree, todo = [], [root]
    while todo:
        one = todo.pop()
        tree.append(one)
        todo += children.get(one, [])
    return tree


def cpu_us(root):
    total = 0
    for process in process_tree(root):
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                total += int(pathlib.Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1000


def text(size, seed):
    """Prose of so many bytes, different for each seed from the first word on."""
    source = random.Random(seed)
    words = ["the", "router", "holds", "prefixes", "of", "many", "prompts", "and", "measures", "what", "caches", "save"]
    made, length = [], 0
    while length < size:
        word = source.choice(words) if source.random() > 0.08 else source.choice(words) + ".\n"
        made.append(word)
        length += len(word) + 1
    return " ".join(made)[:size]


def body(prompt, is_chat, stream=0):
    request = {"model": "mock", "max_tokens": max(stream, 1), "stream": bool(stream)}
    request |= {"messages": [{"role": "user", "content": prompt}]} if is_chat else {"prompt": prompt}
    return (b"/v1/chat/completions" if is_chat else b"/v1/completions"), json.dumps(request).encode()


async def drive(port, requests, connections, events=0):
    """Sends the requests over so many connections, each after the last one's answer. Returns worker and seconds each.

    An answer with fewer events than asked for is a failure."""
    loop = asyncio.get_running_loop()
    queue, results = list(enumerate(requests))[::-1], [None] * len(requests)

    async def one():
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        while queue:
            index, (path, data) = queue.pop()
            began = time.perf_counter()
            answer = await client.post(path, data)
            if answer.count(b"data: ") < events:
                raise RuntimeError(f"{answer.count(b'data: ')} events instead of {events}: {answer[:120]!r}")
            at = answer.find(b"worker-")
            results[index] = (answer[at:at + 8].decode(), time.perf_counter() - began)
        client.transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return results


def hits(results, groups):
    seen, first, counts = set(), 0, {}
    for (worker, _), group in zip(results, groups):
        first += (group, worker) not in seen
        seen.add((group, worker))
        counts[worker] = counts.get(worker, 0) + 1
    return 1 - first / len(results), max(counts.values()) * WORKERS / len(results)


def shared_load(common, group, own, groups, each, seed, size=4096, hot=None):
    """Prompts of a part that all share, one of the group and one of their own, in permille of the size."""
    order = [g for g in range(groups) for _ in range(each)]
    if hot is not None:
        source = random.Random(seed)
        order = [0 if source.random() < hot else source.randrange(1, groups) for _ in range(groups * each)]
    random.Random(seed).shuffle(order)
    part = lambda permille, name: text(size * permille // 1000, name)
    made = []
    # A prompt has another prefix in a chat than alone: a load is of one kind, and the kinds alternate.
    is_chat = random.Random(f"kind {seed}").random() < 0.5
    for index, g in enumerate(order):
        prompt = part(common, f"all {seed}") + part(group, f"group {seed} {g}") + part(own, f"own {seed} {index}")
        made.append(body(prompt, is_chat))
    return made, order


async def measure(process, port, servers, options, seed):
    """All rows for one contestant."""
    rows = {}
    few = 1 if options.short else 3

    async def cpu_of(requests, connections, units, events=0):
        before = cpu_us(process.pid)
        await drive(port, requests, connections, events)
        return (cpu_us(process.pid) - before) / units

    async def attempt(name, work):
        try:
            rows[name] = await work()
        except Exception as error:  # a row that fails is a result, too
            rows[name] = None
            print(f"    {name}: {type(error).__name__} {error}"[:200], file=sys.stderr)

    small = [body(text(2048, f"{seed} {i}"), True) for i in range(1500 * few)]
    large = [body(text(131072, f"{seed} {i}"), True) for i in range(60 * few)]
    await drive(port, small[:100], 16)
    await attempt("cpu_2k", lambda: cpu_of(small, 16, len(small)))
    await attempt("cpu_128k", lambda: cpu_of(large, 1, len(large)))
    chunks = 150
    streams = [body(text(2048, f"{seed} s{i}"), True, chunks) for i in range(8 * few)]
    await attempt("cpu_chunk", lambda: cpu_of(streams, 8, len(streams) * chunks, chunks))

    async def latency():
        results = await drive(port, small[:400 * few], 1)
        return statistics.median(seconds for _, seconds in results) * 1e6

    await attempt("p50_2k", latency)
    await attempt("ttft_p99", lambda: ttft_p99_us(port, small[:200 * few]))
    loads = {
        "80 % shared": ((0, 800, 200, 16, 20), 4, None),
        "20 % shared": ((0, 200, 800, 16, 20), 4, None),
        "hot prefix": ((0, 800, 200, 10, 60), 48, 0.9),
        "system prompt": ((400, 400, 200, 16, 20), 32, None),
    }
    for name, (shape, connections, hot) in loads.items():
        requests, order = shared_load(*shape, seed=f"{seed} {name}", hot=hot)

        async def work(requests=requests, order=order, connections=connections):
            return hits(await drive(port, requests, connections), order)

        await attempt(name, work)
    distinct = [body(text(4096, f"{seed} d{i}"), True) for i in range(600)]

    async def evenness():
        return hits(await drive(port, distinct, 16), range(len(distinct)))[1]

    await attempt("no reuse", evenness)
    await attempt("killed", lambda: errors_when_killed(port, small[:500 * few], servers[0]))
    return rows


async def ttft_p99_us(port, requests):
    """The 99th percentile of the time to the first event of a stream, one after the other."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    times = []
    for path, data in requests:
        began = time.perf_counter()
        await client.post(path, data.replace(b'"stream": false', b'"stream": true'))
        times.append(client.first_event_at - began)
    client.transport.close()
    return statistics.quantiles(times, n=100)[98] * 1e6


async def errors_when_killed(port, requests, server):
    """Requests that fail at the client when a worker is killed in the middle of them; no answer had begun."""
    loop = asyncio.get_running_loop()
    queue, left, errors = requests[::-1], len(requests) // 2, 0

    async def one():
        nonlocal left, errors
        client = None
        while queue:
            path, data = queue.pop()
            left -= 1
            if left == 0:
                kill(server)
            try:
                if client is None or client.transport.is_closing():
                    _, client = await loop.create_connection(Client, "127.0.0.1", port)
                await client.post(path, data)
            except (OSError, RuntimeError, asyncio.TimeoutError):
                errors += 1
                client = None

    await asyncio.gather(*(one() for _ in range(16)))
    return errors


async def wait_until_up(port, process, deadline_s=60):
    began = time.monotonic()
    last = "nothing"
    while time.monotonic() - began < deadline_s:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with code {process.returncode}")
        try:
            await drive(port, [body("are you there", True)], 1)
            return
        except Exception as error:
            last = str(error)
        await asyncio.sleep(0.2)
    raise RuntimeError(f"it did not serve within {deadline_s} s; last seen: {last}")


class State:
    """What was measured so far, in a file."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.figures, self.direct = kept.get("figures", {}), kept.get("direct", [])

    def keep(self, key, rows, direct=None):
        self.figures[key] = rows
        self.direct += [direct] if direct else []
        self.path.write_text(json.dumps({"figures": self.figures, "direct": self.direct}, indent=1))


async def race(options):
    state = State(options.state or pathlib.Path(options.environments) / "race.json")
    deadline = time.monotonic() + options.minutes * 60
    for repetition in range(options.repetitions):
        for name in options.contestants:
            key = f"{repetition} {name}"
            if key in state.figures or time.monotonic() > deadline:
                continue
            rows, direct = await one_contestant(name, options, f"{repetition}")
            state.keep(key, rows, direct)
            print(f"{repetition + 1}/{options.repetitions} {name} {rows}", file=sys.stderr)
        key = f"{repetition} replicas"
        if "teebench" in options.contestants and key not in state.figures and time.monotonic() <= deadline:
            state.keep(key, await replicas(options, f"{repetition}"))
            print(f"{repetition + 1}/{options.repetitions} replicas {state.figures[key]}", file=sys.stderr)
    figures = {}
    for key, rows in state.figures.items():
        figures.setdefault(key.split(" ", 1)[1], []).append(rows)
    return figures, state.direct


async def one_contestant(name, options, seed):
    """All rows of one contestant, its latencies less those without it, and these: (median of an answer, P99 of a first event)."""
    ports = free_ports(WORKERS + 1)
    servers = await start_workers(ports[1:], options.delay_ms / 1000)
    log = open(pathlib.Path(options.environments) / f"{name}.log", "w")
    process = subprocess.Popen([str(part) for part in command(name, ports[0], ports[1:], options)],
                               stdout=log, stderr=log, start_new_session=True)
    rows, direct = {}, None
    try:
        await wait_until_up(ports[0], process)
        rows = await measure(process, ports[0], servers, options, seed)
        few = [body(text(2048, index), True) for index in range(200)]
        straight = await drive(ports[2], few, 1)
        direct = (statistics.median(seconds for _, seconds in straight) * 1e6, await ttft_p99_us(ports[2], few))
        # What a machine takes drifts from minute to minute: each contestant is compared with its own workers, just then.
        for row, without in zip(("p50_2k", "ttft_p99"), direct):
            if rows.get(row) is not None:
                rows[row] -= without
    except RuntimeError as error:
        print(f"{name}: {error}; see {log.name}", file=sys.stderr)
    finally:
        end([process])
        log.close()
        for server in servers:
            kill(server)
    return rows, direct


async def replicas(options, seed):
    """Hits of three routers that take requests in turn, as a share of one router's: without sync and with it."""
    requests, order = shared_load(0, 800, 200, 16, 20, seed=f"{seed} replicas")

    async def hits_of(count, in_step):
        ports = free_ports(WORKERS + 2 * count)
        workers, data, control = ports[:WORKERS], ports[WORKERS:WORKERS + count], ports[WORKERS + count:]
        servers = await start_workers(workers, options.delay_ms / 1000)
        urls = [f"http://127.0.0.1:{port}" for port in workers]
        processes = []
        for index in range(count):
            peers = [f"http://127.0.0.1:{port}" for port in control if port != control[index]]
            own = ["--peer-urls", *peers] if in_step and peers else []
            processes.append(subprocess.Popen(
                [options.binary, "router", "--port", str(data[index]), "--control-port", str(control[index]),
                 "--worker-urls", *urls, *own], stderr=subprocess.DEVNULL, start_new_session=True))
        try:
            for port, process in zip(data, processes):
                await wait_until_up(port, process)
            results = [None] * len(requests)
            for index, request in enumerate(requests):
                results[index] = (await drive(data[index % count], [request], 1))[0]
            return hits(results, order)[0]
        finally:
            end(processes)
            for server in servers:
                kill(server)

    alone = await hits_of(1, False)
    return {"apart": await hits_of(3, False) / alone, "in step": await hits_of(3, True) / alone}


def end(processes):
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def table(figures, direct, options):
    direct_us = statistics.median(median for median, _ in direct) if direct else 0

    def median(name, row, part=None):
        values = [run[row] if part is None else run[row][part] for run in figures.get(name, []) if run.get(row) is not None]
        return statistics.median(values) if values else None

    show = lambda value, form: "failed" if value is None else form.format(value)
    peers = [name for name in options.contestants if name in PYPI]
    print(f"| figure | {' | '.join(options.contestants)} | teebench / best Rust peer |")
    print("| --- |" + " --- |" * (len(options.contestants) + 1))
    cost_rows = [("CPU per request, 2 KB, 16 connections (us)", "cpu_2k"), ("CPU per request, 128 KB (us)", "cpu_128k"),
                 ("CPU per streamed chunk (us)", "cpu_chunk"), ("added median latency, 2 KB (us)", "p50_2k"),
                 ("added TTFT, P99 (us)", "ttft_p99")]
    for title, row in cost_rows:
        values = {name: median(name, row) for name in options.contestants}
        best = min((values[name] for name in peers if values[name] is not None), default=None)
        ours = values.get("teebench")
        ratio = "" if not best or ours is None else f"{ours / best:.2f}"
        print(f"| {title} | {' | '.join(show(values[name], '{:.1f}') for name in options.contestants)} | {ratio} |")
    for row in ["80 % shared", "20 % shared", "hot prefix", "system prompt"]:
        cells = [f"{show(median(name, row, 0), '{:.3f}')} / {show(median(name, row, 1), '{:.2f}')}" for name in options.contestants]
        print(f"| {row}: hits / hotspot | {' | '.join(cells)} | |")
    for title, row, form in [("no reuse: hotspot", "no reuse", "{:.2f}"), ("worker killed: failed requests", "killed", "{:.0f}")]:
        cells = [show(median(name, row), form) for name in options.contestants]
        print(f"| {title} | {' | '.join(cells)} | |")
    apart, in_step = median("replicas", "apart"), median("replicas", "in step")
    print(f"\nThree replicas of teebench have {show(apart, '{:.3f}')} of one's hits without sync, {show(in_step, '{:.3f}')} with.")
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    print(f"\n{platform.system()} {platform.release()}, {model}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
          f"Python {platform.python_version()}; {len(figures.get('teebench', []))} repetitions, workers' delay {options.delay_ms} ms, "
          f"median direct latency {direct_us:.0f} us; {time.strftime('%Y-%m-%d')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/teebench")
    parser.add_argument("--environments", default="/tmp/teebench-race", help="directory of the virtual environments")
    parser.add_argument("--contestants", nargs="+", default=["teebench", "haproxy", *PYPI])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--delay-ms", type=float, default=1.0, help="time that a worker takes for a unary answer")
    parser.add_argument("--short", action="store_true", help="a third of the requests of the CPU rows")
    parser.add_argument("--state", help="file of what was measured (default: race.json beside the environments)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no contestant after so many minutes")
    options = parser.parse_args()
    pathlib.Path(options.environments).mkdir(parents=True, exist_ok=True)
    figures, direct = asyncio.run(race(options))
    table(figures, direct, options)


if __name__ == "__main__":
    main()
