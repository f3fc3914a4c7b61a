"""The probe against what else the machine says, over a minute of load: the energy counter against the integral of sampled
power, how often the counter steps, nvidia-smi's own CSV taken at the same time, and what sampling costs.
"""

import json
import os
import subprocess
import time

from server import loadgen

COLUMNS = (
    "timestamp,power.draw,utilization.gpu,utilization.memory,clocks.current.graphics,clocks.current.memory,temperature.gpu"
)
WINDOW_SECONDS = 60
CONCURRENCY = 64


def measure(server, out, teebench, simulate):
    out = out / "energy"
    if (out / "facts.json").exists():
        return
    out.mkdir(exist_ok=True)
    shape = "--dataset-name random --random-input-len 512 --random-output-len 128 --num-warmups 4".split()
    flags = lambda requests: [*shape, "--max-concurrency", str(CONCURRENCY), "--num-prompts", str(requests)]
    pilot = loadgen(teebench, server, out, "pilot.json", flags(4 * CONCURRENCY))
    requests = int(pilot["request_throughput"] * (WINDOW_SECONDS + 8))
    idle_began, idle_cpu = time.monotonic(), server.probe_cpu_seconds()
    time.sleep(10)
    idle_share = (server.probe_cpu_seconds() - idle_cpu) / (time.monotonic() - idle_began)
    smi = None if simulate else nvidia_smi(out)
    (out / "load.json").unlink(missing_ok=True)
    before_cpu, before = server.probe_cpu_seconds(), time.monotonic()
    first_ns = server.clock_ns()
    load = loadgen(teebench, server, out, "load.json", flags(requests))
    last_ns = server.clock_ns()
    load_share = (server.probe_cpu_seconds() - before_cpu) / (time.monotonic() - before)
    if smi:
        smi.terminate()
        smi.wait()
    # The first seconds fill the batch and the last ones empty it; between them power is level.
    from_ns = first_ns + 3_000_000_000
    to_ns = min(from_ns + WINDOW_SECONDS * 1_000_000_000, last_ns - 1_000_000_000)
    for name, query in (("window", (from_ns, to_ns)), ("whole", (first_ns, last_ns))):
        for path, suffix in (("energy", "json"), ("samples", "jsonl"), ("power.csv", "csv")):
            answer = server.get(f"/{path}?from={query[0]}&to={query[1]}")
            (out / f"{name}-{path.removesuffix('.csv')}.{suffix}").write_bytes(answer)
    (out / "environment.json").write_bytes(server.get("/environment"))
    facts = {
        "windowSeconds": (to_ns - from_ns) / 1e9,
        "probeCpuShareIdle": idle_share,
        "probeCpuShareUnderLoad": load_share,
        "outputThroughput": load["output_throughput"],
        "counterStepsMs": [] if simulate else counter_steps(),
    }
    (out / "facts.json").write_text(json.dumps(facts))
    print("energy: done", flush=True)


def nvidia_smi(out):
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", "-i", gpu, f"--query-gpu={COLUMNS}", "--format=csv", "-lms", "1000"]
    with open(out / "nvidia-smi.csv", "wb") as file:
        return subprocess.Popen(command, stdout=file, env={**os.environ, "TZ": "UTC"})


def counter_steps():
    """Times between changes of the energy counter in milliseconds, polled for five seconds without a pause."""
    import pynvml

    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(int(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]))
    last, changes = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu), []
    end = time.monotonic() + 5
    while (now := time.monotonic()) < end:
        value = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
        if value != last:
            last = value
            changes.append(now)
    return [1e3 * (b - a) for a, b in zip(changes, changes[1:])]
