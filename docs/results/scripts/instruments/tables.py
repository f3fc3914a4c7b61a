"""What `run.py` measured, as tables in markdown: tables.py OUT"""

import json
import math
import statistics
import sys
from datetime import datetime, timezone
from pathlib import Path

from clients import LOADS, METRICS, PAIRS

# Two-sided 95 % points of Student's t by degrees of freedom.
T_95 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
# nvidia-smi prints hundredths of a watt.
SAME_WATTS = 0.006


def ratio_of_pairs(pairs):
    """Geometric mean of paired ratios less one, and its 95 % interval, as shares."""
    logs = [math.log(ours / theirs) for ours, theirs in pairs]
    mean, half = statistics.mean(logs), 0.0
    if len(logs) - 1 in T_95:
        half = T_95[len(logs) - 1] * statistics.stdev(logs) / math.sqrt(len(logs))
    return [math.exp(x) - 1 for x in (mean, mean - half, mean + half)]


def read(path):
    return json.loads(path.read_text())


def clients_table(out):
    print("\n### `teebench loadgen` against `vllm bench serve`, alternating\n")
    print("| load | metric | teebench | vLLM's client | difference [95 % CI] | off the raw stream: teebench | vLLM's client |")
    print("| --- | --- | ---: | ---: | --- | ---: | ---: |")
    for load in LOADS:
        for metric in METRICS:
            pairs = [
                [read(out / f"{load}-{pair}-{client}.json")[metric] for client in ("teebench", "vllm")]
                for pair in range(PAIRS)
            ]
            ours, theirs = (statistics.median(side) for side in zip(*pairs))
            mean, low, high = ratio_of_pairs(pairs)
            off = []
            for client in ("teebench", "vllm"):
                recorded = read(out / f"{load}-raw-{client}.json")
                raw = recorded["raw"].get(metric)
                off.append(f"{recorded['said'][metric] / raw - 1:+.2%}" if raw else "")
            print(f"| {load} | {metric} | {ours:.2f} | {theirs:.2f} | {mean:+.2%} [{low:+.2%}, {high:+.2%}] | {' | '.join(off)} |")


def energy_table(out):
    facts, window = read(out / "facts.json"), read(out / "window-energy.json")
    off = window["counter_joules"] / window["integral_joules"] - 1
    print("\n### The probe, over a minute of load\n")
    print("| figure | value |\n| --- | --- |")
    print(f"| window | {facts['windowSeconds']:.1f} s, {facts['outputThroughput']:.0f} tokens/s |")
    print(f"| energy by the counter | {window['counter_joules']:.1f} J |")
    print(f"| integral of the power sampled at 10 Hz | {window['integral_joules']:.1f} J; the counter is {off:+.2%} off it |")
    print(f"| verdict | {window['verdict']} {', '.join(window['reasons'])} |")
    steps = sorted(facts["counterStepsMs"])
    if steps:
        at = lambda share: steps[int(share * (len(steps) - 1))]
        print(f"| the counter steps every | {at(0.5):.1f} ms (p5 {at(0.05):.1f}, p95 {at(0.95):.1f}, {len(steps)} steps) |")
    print(f"| the probe's share of a core, idle | {facts['probeCpuShareIdle']:.2%} |")
    print(f"| under load | {facts['probeCpuShareUnderLoad']:.2%} |")
    if (out / "nvidia-smi.csv").exists():
        print(f"| rows of nvidia-smi's own CSV | {smi_rows(out)} |")


def unix(text):
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=timezone.utc).timestamp()


def smi_rows(out):
    """How many of nvidia-smi's rows agree with a sample of ours within one sampling step."""
    samples = [json.loads(line) for line in (out / "whole-samples.jsonl").read_text().splitlines()]
    samples = [(s["unix_ns"] / 1e9, s["power_average_mw"] / 1e3) for s in samples if s.get("power_average_mw")]
    step = statistics.median(b[0] - a[0] for a, b in zip(samples, samples[1:]))
    rows = [line.split(", ") for line in (out / "nvidia-smi.csv").read_text().splitlines()[1:]]
    compared, exact, within, worst = 0, 0, 0, 0.0
    for row in rows:
        if len(row) < 2 or not row[1].endswith(" W"):
            continue
        at, watts = unix(row[0]), float(row[1].removesuffix(" W"))
        near = [power for when, power in samples if abs(when - at) <= 1.5 * step]
        if len(near) < 2:
            continue
        compared += 1
        exact += any(abs(power - watts) <= SAME_WATTS for power in near)
        within += min(near) - SAME_WATTS <= watts <= max(near) + SAME_WATTS
        worst = max(worst, min(abs(power - watts) for power in near))
    return (
        f"{compared} compared: {exact} equal a sample within one step of {1e3 * step:.0f} ms, {within} lie between "
        f"such samples; worst distance {worst:.2f} W"
    )


def main():
    out = Path(sys.argv[1])
    energy_table(out / "energy")
    clients_table(out / "clients")


if __name__ == "__main__":
    main()
