#!/usr/bin/env python3
"""Reduces `vllm bench serve --save-detailed` files to what the fit needs: extract.py SOURCE FILE.json... > data/NAME.json

SOURCE says how they were measured.

Each file becomes a point: its load, and of each request when it was sent, its time to the first token and its whole
latency. Of the gaps between tokens, which are most of a file, the pooled percentiles stay.
"""

import json
import re
import sys


def percentile(ordered, share):
    """Linear between ranks, as numpy's default."""
    rank = share * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def milliseconds(seconds):
    return round(seconds * 1e3, 3)


def point(path):
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    if any(result["errors"]):
        sys.exit(f"{path}: has failed requests")
    load = re.search(r"c(\d+)_i(\d+)_o(\d+)", path)
    first = min(result["start_times"])
    gaps = sorted(gap for gaps in result["itls"] for gap in gaps)
    latencies = [ttft + sum(gaps) for ttft, gaps in zip(result["ttfts"], result["itls"])]
    return {
        "concurrency": int(load[1]),
        "inputTokens": int(load[2]),
        "outputTokens": int(load[3]),
        "durationS": round(result["duration"], 6),
        "itlMs": {name: milliseconds(percentile(gaps, share)) for name, share in
                  [("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95), ("p99", 0.99)]},
        "startMs": [milliseconds(start - first) for start in result["start_times"]],
        "ttftMs": [milliseconds(ttft) for ttft in result["ttfts"]],
        "latencyMs": [milliseconds(latency) for latency in latencies],
    }


def main():
    source, *paths = sys.argv[1:]
    points = sorted((point(path) for path in paths), key=lambda p: (p["concurrency"], p["inputTokens"]))
    lines = ",\n".join(json.dumps(p) for p in points)
    print(f'{{"source": {json.dumps(source)}, "maxNumSeqs": 128, "maxNumBatchedTokens": 8192,\n"points": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
