"""Checks clients against the raw stream: `python3 loadgen/crosscheck/crosscheck.py` (README.md says how to prepare it).

Each client sends the same load to `teebench mock-vllm` through a recorder. What the client reports must agree with what its
own definitions give on the recorded stream; then clients differ by their definitions alone. Exits with 1 when a median is
off by more than the tolerance.
"""

import argparse
import asyncio
import json
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import definitions
from recorder import Recorder

MODEL = "m"
HERE = Path(__file__).parent
# A token a byte: clients that insist on a tokeniser find one without network.
TOKENIZER = HERE / "tokenizer"
# What the simulator takes for a token of text; to the tokeniser above they are as many tokens.
BYTES_PER_TOKEN = 4


def ours(options, url, out):
    flags = vllm_flags(options, options.input_tokens, url, out)
    command = shlex.split(options.teebench) + ["loadgen"] + flags + ["--disable-tqdm"]
    return command, lambda: vllm_figures(out), definitions.teebench


def vllm(options, url, out):
    command = shlex.split(options.vllm) + vllm_flags(options, options.input_tokens * BYTES_PER_TOKEN, url, out)
    command += ["--endpoint", "/v1/completions", "--tokenizer", str(TOKENIZER), "--disable-tqdm"]
    return command, lambda: vllm_figures(out), definitions.teebench


def vllm_flags(options, input_tokens, url, out):
    return shlex.split(
        f"--base-url {url} --model {MODEL} --backend openai --dataset-name random --random-input-len {input_tokens} "
        f"--random-output-len {options.output_tokens} --num-prompts {options.requests} --ignore-eos "
        f"--max-concurrency {options.concurrency} --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50 "
        f"--save-result --result-dir {out} --result-filename bench.json"
    )


def vllm_figures(out):
    said = json.loads((out / "bench.json").read_text())
    return {metric: said[f"median_{metric}_ms"] for metric in ("ttft", "itl", "tpot", "e2el")}


def aiperf(options, url, out):
    command = shlex.split(options.aiperf) + shlex.split(
        f"profile --model {MODEL} --url {url} --endpoint-type completions --streaming --ui none --no-server-metrics "
        f"--no-gpu-telemetry --use-server-token-count --isl {options.input_tokens * BYTES_PER_TOKEN} --osl {options.output_tokens} "
        f"--extra-inputs ignore_eos:true --concurrency {options.concurrency} --request-count {options.requests} "
        f"--tokenizer {TOKENIZER} --artifact-dir {out}"
    )

    def figures():
        said = json.loads((out / "profile_export_aiperf.json").read_text())
        names = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2el": "request_latency"}
        return {metric: said[name]["p50"] for metric, name in names.items()}

    return command, figures, definitions.aiperf


def guidellm(options, url, out):
    report = out / "benchmarks.json"
    command = shlex.split(options.guidellm) + [
        "run",
        "--backend", f"kind=openai_http,target={url},model={MODEL},request_format=/v1/completions",
        "--profile", f"kind=concurrent,streams={options.concurrency}",
        "--constraint", f"kind=max_requests,count={options.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}",
        "--data", f"kind=synthetic_text,prompt_tokens={options.input_tokens * BYTES_PER_TOKEN},output_tokens={options.output_tokens}",
        "--output", f"kind=json,path={report}",
        "--disable-console",
    ]  # fmt: skip

    def figures():
        metrics = json.loads(report.read_text())["benchmarks"][0]["metrics"]
        at = lambda name: metrics[name]["successful"]["percentiles"]["p50"]
        names = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}
        return {metric: at(name) for metric, name in names.items()} | {"e2el": 1e3 * at("request_latency")}

    return command, figures, definitions.guidellm


CLIENTS = {"teebench": ours, "vllm": vllm, "aiperf": aiperf, "guidellm": guidellm}


def start_simulator(options, log):
    """The simulator as a process and its port: the first that it says it listens on."""
    command = shlex.split(options.teebench) + shlex.split(
        f"mock-vllm --host 127.0.0.1 --port {options.port} --model {MODEL} --profile {options.profile} --seed 1"
    )
    process = subprocess.Popen(command, stdout=log, stderr=log)
    return process


async def wait_for(port, process):
    """Until the simulator is healthy; it takes the time that a server takes to load its model."""
    url = f"http://127.0.0.1:{port}/health"
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"the simulator ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    sys.exit("the simulator is not healthy after two minutes")


async def check(name, options):
    """Runs one client; its worst deviation from the raw stream, as a share."""
    out = Path(tempfile.mkdtemp(prefix=f"crosscheck-{name}-"))
    async with Recorder("127.0.0.1", options.port) as recorder:
        command, figures, definition = CLIENTS[name](options, f"http://127.0.0.1:{recorder.port}", out)
        with open(out / "log.txt", "wb") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            code = await process.wait()
        if code != 0:
            tail = (out / "log.txt").read_text(errors="replace")[-2000:]
            sys.exit(f"{name} ended with {code}; {out}/log.txt ends with:\n{tail}")
    # What a client sends first to see whether anybody is there is no part of its figures.
    exchanges = recorder.exchanges()[-options.requests :]
    reported, recomputed = figures(), definition(exchanges)
    worst = 0.0
    for metric, raw in recomputed.items():
        deviation = reported[metric] / raw - 1
        worst = max(worst, abs(deviation))
        print(f"{name:<10} {metric:<5} reported {reported[metric]:>10.3f} ms   raw {raw:>10.3f} ms   {deviation:+8.2%}")
    same = definitions.teebench(exchanges)
    print(f"{name:<10} by teebench's definitions: " + ", ".join(f"{m} {v:.3f} ms" for m, v in same.items()))
    return worst


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teebench", default="target/release/teebench", help="command of teebench")
    parser.add_argument("--aiperf", default="aiperf", help="command of aiperf 0.13")
    parser.add_argument("--guidellm", default="guidellm", help="command of guidellm 0.8")
    parser.add_argument("--vllm", default="vllm bench serve", help="command of vLLM's client")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=["teebench", "aiperf", "guidellm"])
    parser.add_argument("--profile", default="H100Nvl", help="profile of the simulator")
    parser.add_argument("--port", type=int, default=18765, help="port of the simulator")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=4)
    # Long enough for a TTFT of which the way from a client's first time stamp to its socket is a small part.
    parser.add_argument("--input-tokens", type=int, default=2048)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--tolerance", type=float, default=0.02, help="largest deviation of a median, as a share")
    options = parser.parse_args()
    worst = {}
    with tempfile.TemporaryDirectory() as scratch, open(Path(scratch) / "simulator.txt", "wb") as log:
        simulator = start_simulator(options, log)
        try:
            await wait_for(options.port, simulator)
            for name in options.clients:
                worst[name] = await check(name, options)
        finally:
            simulator.terminate()
            simulator.wait()
    for name, deviation in worst.items():
        print(f"{name:<10} worst deviation {deviation:.2%}: {'agrees' if deviation <= options.tolerance else 'DOES NOT AGREE'}")
    sys.exit(any(deviation > options.tolerance for deviation in worst.values()))


if __name__ == "__main__":
    asyncio.run(main())
