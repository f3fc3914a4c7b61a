"""Expected figures of result files, by numpy alone and not by the code under test.

Reads the golden files (arrays that vLLM's client measured) and makes one further run with what they lack: failures, single
tokens, objectives that some requests miss. Writes `mixed_run.json` (that run) and `expected.json` (the figures of all).

    python3 -m venv v && v/bin/pip install numpy==2.4.6 && v/bin/python tests/oracle/oracle.py
"""

import json
import math
import platform
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "data"
PERCENTILES = [25, 50, 75, 95, 99, 99.9]
MIXED_SLO_MS = {"ttft": 60.0, "tpot": 11.0, "e2el": 400.0}


def distribution(prefix, values_s):
    values = np.asarray(values_s if len(values_s) else [0.0], dtype=np.float64)
    out = {
        f"mean_{prefix}_ms": values.mean() * 1e3,
        f"median_{prefix}_ms": np.median(values) * 1e3,
        f"std_{prefix}_ms": values.std(ddof=0) * 1e3,
    }
    for percent in PERCENTILES:
        out[f"p{percent}_{prefix}_ms"] = np.percentile(values, percent, method="linear") * 1e3
    return {key: float(value) for key, value in out.items()}


def busiest_second(starts, ttfts, itls, latencies):
    if not starts:
        return {"max_output_tokens_per_s": 0.0, "max_concurrent_requests": 0}
    first = min(starts)
    chunk_seconds = np.concatenate(
        [np.floor(start + np.cumsum([ttft, *gaps]) - first) for start, ttft, gaps in zip(starts, ttfts, itls)]
    ).astype(int)
    touched = np.concatenate(
        [
            np.arange(math.floor(start - first), math.floor(start + latency - first) + 1)
            for start, latency in zip(starts, latencies)
        ]
    )
    return {
        "max_output_tokens_per_s": float(np.bincount(chunk_seconds).max()),
        "max_concurrent_requests": int(np.bincount(touched).max()),
    }


def expected(run, slo_ms=None):
    good = [index for index, error in enumerate(run["errors"]) if not error]
    pick = lambda key: [run[key][index] for index in good]
    ttfts, itls, outputs = pick("ttfts"), pick("itls"), np.array(pick("output_lens"), dtype=int)
    latencies = pick("latencies") if "latencies" in run else [t + sum(gaps) for t, gaps in zip(ttfts, itls)]
    decode = np.array(latencies) - np.array(ttfts)
    tpots = decode[outputs > 1] / (outputs[outputs > 1] - 1)
    inputs, duration = sum(pick("input_lens")), run["duration"]
    out = {
        "completed": len(good),
        "failed": len(run["errors"]) - len(good),
        "total_input_tokens": int(inputs),
        "total_output_tokens": int(outputs.sum()),
        "request_throughput": len(good) / duration,
        "output_throughput": float(outputs.sum() / duration),
        "total_token_throughput": float((inputs + outputs.sum()) / duration),
    }
    if slo_ms:
        per_token = np.where(outputs > 1, decode / np.maximum(outputs - 1, 1), 0.0)
        met = (
            (np.array(ttfts) <= slo_ms["ttft"] / 1e3)
            & (per_token <= slo_ms["tpot"] / 1e3)
            & (np.array(latencies) <= slo_ms["e2el"] / 1e3)
        )
        out["request_goodput"] = float(met.sum() / duration)
    if "start_times" in run:
        out |= busiest_second(pick("start_times"), ttfts, itls, latencies)
    for prefix, values in (
        ("ttft", ttfts),
        ("tpot", tpots),
        ("itl", np.concatenate(itls) if itls else []),
        ("e2el", latencies),
    ):
        out |= distribution(prefix, values)
    return out


def mixed_run(seed=54940, requests=80):
    rng = np.random.default_rng(seed)
    run = {key: [] for key in ("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "errors")}
    clock = 5000.25
    for index in range(requests):
        clock += float(rng.exponential(0.11))
        failed, tokens = index % 9 == 4, int(rng.integers(1, 40)) if index % 7 else 1
        ttft = 0.0 if failed else float(rng.lognormal(-3.1, 0.5))
        gaps = [] if failed else [float(gap) for gap in rng.gamma(4.0, 0.0025, tokens - 1)]
        run["input_lens"].append(int(rng.integers(20, 2000)))
        run["output_lens"].append(0 if failed else tokens)
        run["ttfts"].append(ttft)
        run["itls"].append(gaps)
        run["latencies"].append(ttft + sum(gaps))
        run["start_times"].append(clock)
        run["errors"].append("refused" if failed else "")
    run["duration"] = clock + 1.5 - run["start_times"][0]
    run["slo_ms"] = MIXED_SLO_MS
    return run


def main():
    runs = {path.name: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
    figures = {name: expected(run) for name, run in runs.items() if "itls" in run}
    mixed = mixed_run()
    (HERE / "mixed_run.json").write_text(json.dumps(mixed) + "\n")
    figures["mixed_run.json"] = expected(mixed, MIXED_SLO_MS)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    (HERE / "expected.json").write_text(json.dumps({"versions": versions, "figures": figures}, indent=1) + "\n")


main()
