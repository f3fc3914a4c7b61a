"""Checks the load generator, the probe and the simulator's fit on one GPU: run.py --models DIR --out OUT

DIR holds `llama-8b` and `llama-1b` (config.json, tokenizer.json, tokenizer_config.json). What OUT has already is not
measured again, so that an interrupted run is continued by the same command. With --simulate the simulator stands in for
vLLM and its GPU: a trial of the whole. `tables.py OUT` prints what came of it.
"""

import argparse
from pathlib import Path

import clients
import energy
import grid
from server import Server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teebench", default="teebench")
    parser.add_argument("--vllm-client", default="vllm bench serve", help="command of vLLM's client")
    parser.add_argument("--port", type=int, default=18000)
    parser.add_argument("--probe-port", type=int, default=19400)
    parser.add_argument("--simulate", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    serve = lambda model: Server(
        options.models / model, options.out, options.port, options.probe_port, options.simulate, options.teebench
    )
    with serve("llama-8b") as server:
        energy.measure(server, options.out, options.teebench, options.simulate)
        clients.measure(server, options.out, options.teebench, options.vllm_client)
    with serve("llama-1b") as server:
        grid.measure(server, options.out, options.teebench)
    print("done", flush=True)


if __name__ == "__main__":
    main()
