"""`teebench loadgen` against `vllm bench serve` on one server: pairs in alternating order, over several loads.

Both send the same prompts in the same order with the same lengths of output. After the pairs each client sends each load
once more through a recorder of the raw stream (`loadgen/crosscheck`), from which its figures are recomputed: where clients
differ, that says which of them is off, and by how much.
"""

import asyncio
import json
import random
import shlex
import string
import subprocess
import sys
import urllib.parse
from pathlib import Path

from server import loadgen

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "loadgen" / "crosscheck"))
import definitions  # noqa: E402
from recorder import Recorder  # noqa: E402

PAIRS = 5
# Name, flags that make the load, requests: each lasts 6 to 8 seconds on an 8B model.
LOADS = {
    "c1": ("--max-concurrency 1", 10),
    "c16": ("--max-concurrency 16", 144),
    "c64": ("--max-concurrency 64", 320),
    "rate12": ("--request-rate 12 --burstiness 1000000", 84),
}
METRICS = ["median_ttft_ms", "median_itl_ms", "median_tpot_ms", "median_e2el_ms", "output_throughput"]


def prompts(path):
    """Prompts of about 512 tokens and of 96 to 160 tokens out, so that requests do not go in step."""
    draw = random.Random(54940)
    word = lambda: "".join(draw.choices(string.ascii_lowercase, k=4))
    lines = [
        json.dumps({"prompt": " ".join(word() for _ in range(draw.randint(210, 300))), "output_tokens": draw.randint(96, 160)})
        for _ in range(max(requests for _, requests in LOADS.values()))
    ]
    path.write_text("\n".join(lines) + "\n")


def flags_of(load, dataset):
    shape, requests = LOADS[load]
    shared = f"--backend openai --endpoint /v1/completions --dataset-name custom --dataset-path {dataset} --disable-shuffle "
    shared += f"--custom-output-len -1 --num-prompts {requests} --percentile-metrics ttft,tpot,itl,e2el --seed 1 {shape}"
    return shlex.split(shared)


def vllm(vllm_command, url, server, out, name, flags):
    """Runs vLLM's client once; its result file. A result that is there already stands."""
    path = out / name
    if not path.exists():
        command = shlex.split(vllm_command) + ["--base-url", url, "--model", server.model, "--skip-chat-template"]
        command += ["--tokenizer", str(server.model_dir), "--ignore-eos", "--disable-tqdm", "--save-result"]
        command += ["--save-detailed", "--result-dir", str(out), "--result-filename", f"{name}.part", *flags]
        with open(out / f"{name}.log", "wb") as log:
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        if code != 0:
            raise SystemExit(f"{name}: vLLM's client ended with {code}; see {out / name}.log")
        (out / f"{name}.part").rename(path)
    return json.loads(path.read_text())


def measure(server, out, teebench, vllm_command):
    out = out / "clients"
    out.mkdir(exist_ok=True)
    dataset = out / "prompts.jsonl"
    if not dataset.exists():
        prompts(dataset)
    clients = {
        "teebench": lambda url, name, flags: loadgen(teebench, server, out, name, flags, url),
        "vllm": lambda url, name, flags: vllm(vllm_command, url, server, out, name, flags),
    }
    for pair in range(PAIRS):
        order = list(clients) if pair % 2 == 0 else list(clients)[::-1]
        for load in LOADS:
            for client in order:
                clients[client](server.url, f"{load}-{pair}-{client}.json", flags_of(load, dataset))
        print(f"clients: pair {pair + 1} of {PAIRS}", flush=True)
    for load in LOADS:
        for client, run in clients.items():
            asyncio.run(recorded(server, out, load, client, run, flags_of(load, dataset)))


async def recorded(server, out, load, client, run, flags):
    """One run through the recorder: what the client reports beside what the raw stream gives."""
    path = out / f"{load}-raw-{client}.json"
    if path.exists():
        return
    name = f"{load}-recorded-{client}.json"
    (out / name).unlink(missing_ok=True)
    upstream = urllib.parse.urlsplit(server.url)
    async with Recorder(upstream.hostname, upstream.port) as recorder:
        said = await asyncio.to_thread(run, f"http://127.0.0.1:{recorder.port}", name, flags)
    exchanges = recorder.exchanges()[-LOADS[load][1] :]
    raw = {f"median_{metric}_ms": value for metric, value in definitions.teebench(exchanges).items()}
    path.write_text(json.dumps({"said": {metric: said[metric] for metric in METRICS}, "raw": raw}))
