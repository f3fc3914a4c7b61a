"""Throughput, TTFT and ITL of one server over requests in flight and prompt lengths: what the simulator is to predict."""

from server import loadgen

CONCURRENCY = [1, 4, 16, 64, 128]
INPUT_TOKENS = [128, 512, 2048, 8192]
OUTPUT_TOKENS = 64


def measure(server, out, teebench):
    out = out / f"grid-{server.model}"
    out.mkdir(exist_ok=True)
    for input_tokens in INPUT_TOKENS:
        for concurrency in CONCURRENCY:
            requests = max(12, 3 * concurrency)
            name = f"c{concurrency}_i{input_tokens}_o{OUTPUT_TOKENS}.json"
            flags = ["--dataset-name", "random", "--random-input-len", input_tokens, "--random-output-len", OUTPUT_TOKENS]
            flags += ["--num-prompts", requests, "--max-concurrency", concurrency, "--seed", concurrency + input_tokens]
            flags += ["--num-warmups", 2]
            loadgen(teebench, server, out, name, [str(flag) for flag in flags])
        print(f"grid: prompts of {input_tokens} tokens", flush=True)
