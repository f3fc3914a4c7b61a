"""Hits, evenness and latency by router, read from the results of `teebench run`: figures.py CAMPAIGN_DIRECTORY...

`hit_tokens` is the servers' own prefix_cache_hits over prefix_cache_queries; `hotspot` is the number of servers times the
largest server's share of prompt tokens. Each figure is a run's; the table gives the mean over a router's valid runs.
"""

import collections
import json
import pathlib
import sys


def percentile(values: list[float], rank: float) -> float:
    """The percentile of a sample, interpolated linearly between its neighbours."""
    values = sorted(values)
    place = (len(values) - 1) * rank / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def figures(run_file: pathlib.Path, run: dict) -> tuple[float, ...]:
    bench = json.loads((run_file.parent / "bench.json").read_text())
    queries = [server["prefix_cache_queries"] for server in run["servers"]]
    hits = [server["prefix_cache_hits"] for server in run["servers"]]
    ttft_ms = [1e3 * ttft for ttft in bench["ttfts"]]
    e2e_ms = [1e3 * (ttft + sum(itls)) for ttft, itls in zip(bench["ttfts"], bench["itls"], strict=True)]
    return (
        sum(hits) / sum(queries),
        len(queries) * max(queries) / sum(queries),
        percentile(e2e_ms, 50),
        percentile(e2e_ms, 99),
        sum(e2e_ms) / len(e2e_ms),
        percentile(ttft_ms, 50),
        percentile(ttft_ms, 99),
    )


def main() -> None:
    for directory in map(pathlib.Path, sys.argv[1:]):
        by_router = collections.defaultdict(list)
        for run_file in sorted(directory.glob("runs/*/*/*/*/r*a*/run.json")):
            run = json.loads(run_file.read_text())
            if run["validity"] == "Valid":
                cell = (run["experiment"], run["condition"], run["router"])
                by_router[cell].append(figures(run_file, run))
        print(f"\n{directory.name}\n")
        print("| load | router | runs | hit_tokens | hotspot | E2E P50 | P99 | mean ms | TTFT P50 | P99 ms |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for (experiment, _, router), runs in by_router.items():
            means = [sum(column) / len(runs) for column in zip(*runs, strict=True)]
            shown = [f"{means[0]:.3f}", f"{means[1]:.2f}"] + [f"{mean:.0f}" for mean in means[2:]]
            print(f"| {experiment} | {router} | {len(runs)} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
