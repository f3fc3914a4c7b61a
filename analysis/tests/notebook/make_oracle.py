"""Writes tree/, a small tree of made-up result files, and oracle.json, what numpy says of them, for the tests beside it.

Run `python make_oracle.py` in an environment with numpy, and commit both with the version in it. The figures are computed
here from the files alone, by the definitions of the notebook's sections.
"""

import csv
import json
import pathlib
import shutil

import numpy as np

HERE = pathlib.Path(__file__).parent
TREE = HERE / "tree"
MODES = {"tee_off": "Disabled", "tee_on": "Enabled"}
EXPERIMENTS = {
    "throughput_latency": ["Gemma3 1B", "Llama3.1 8B"],
    "throughput_latency_mns-calibration": ["Gemma3 1B-mns-512", "Gemma3 1B-mns-1024"],
    "saturation_point": ["Llama3.1 8B_8", "Llama3.1 8B_16", "Llama3.1 8B_128"],
    "saturation_point_sweep_1": ["Llama3.1 8B_32"],
    "sequence_overhead": ["input_128_output_128", "input_128_output_512", "input_2048_output_128"],
    "energy": ["Gemma3 1B", "Llama3.1 8B"],
    "my.own_question": ["Phi mini"],
}
REQUESTS, TOKENS = 9, 5


def result(random, mode, repetition, concurrency):
    speed = (0.93 if mode == "tee_on" else 1.0) * np.exp(random.normal(0, 0.01))
    ttfts = random.uniform(0.02, 0.09, REQUESTS) / speed
    itls = [list(random.uniform(0.006, 0.02, TOKENS - 1) / speed) for _ in range(REQUESTS)]
    latencies = [ttft + sum(gaps) for ttft, gaps in zip(ttfts, itls)]
    duration = float(sum(latencies) / min(concurrency, 16) * 60)
    tpots = [sum(gaps) / (TOKENS - 1) for gaps in itls]
    flat = [gap for gaps in itls for gap in gaps]
    inputs = [int(n) for n in random.integers(100, 140, REQUESTS)]
    output = REQUESTS * TOKENS
    return {
        "date": f"20261122-12{repetition:02d}00", "endpoint_type": "openai", "backend": "openai", "label": None,
        "model_id": "m", "tokenizer_id": "m", "num_prompts": REQUESTS, "tee_mode": mode, "repetition": str(repetition),
        "request_rate": "inf", "burstiness": 1.0, "max_concurrency": concurrency, "duration": duration,
        "completed": REQUESTS, "total_input_tokens": sum(inputs), "total_output_tokens": output,
        "request_throughput": REQUESTS / duration, "request_goodput": None, "output_throughput": output / duration,
        "total_token_throughput": (output + sum(inputs)) / duration, "input_lens": inputs,
        "output_lens": [TOKENS] * REQUESTS, "ttfts": list(ttfts), "itls": itls, "generated_texts": [""] * REQUESTS,
        "errors": [""] * REQUESTS, "max_output_tokens_per_s": 100.0,
        "max_concurrent_requests": min(REQUESTS, concurrency + repetition),
        "mean_ttft_ms": float(np.mean(ttfts) * 1e3), "median_ttft_ms": float(np.median(ttfts) * 1e3),
        "mean_tpot_ms": float(np.mean(tpots) * 1e3), "median_itl_ms": float(np.median(flat) * 1e3),
    }


def write_power(random, path, duration):
    lines = ["timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%], clocks.current.graphics [MHz], "
             "clocks.current.memory [MHz], temperature.gpu"]
    for index in range(int(duration) + 4):
        seconds = index * 1.003
        lines.append(f"2026/11/22 12:{int(seconds) // 60:02d}:{seconds % 60:06.3f}, {random.uniform(90, 690):.2f} W, "
                     f"{random.integers(0, 101)} %, {random.integers(0, 60)} %, 1980 MHz, 3201 MHz, "
                     f"{random.integers(40, 70)}")
    path.write_text("\n".join(lines) + "\n")


def write_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    random = np.random.default_rng(7)
    for experiment, conditions in EXPERIMENTS.items():
        for condition in conditions:
            concurrency = int(condition.rsplit("_", 1)[1]) if experiment.startswith("saturation") else 16
            for mode in MODES:
                if "calibration" in experiment and mode == "tee_off":
                    continue
                directory = TREE / experiment / condition / mode
                directory.mkdir(parents=True)
                for repetition in (1, 2, 10):
                    run = result(random, mode, repetition, concurrency)
                    stem = f"{experiment}_repetition_{repetition}"
                    (directory / f"{stem}.json").write_text(json.dumps(run))
                    write_power(random, directory / f"{stem}_power_metrics.csv", run["duration"])


def runs(experiment, condition, mode):
    directory = TREE / experiment / condition / mode
    paths = sorted(directory.glob("*repetition_*.json"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))
    for path in paths:
        with open(path.with_name(f"{path.stem}_power_metrics.csv"), newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)][1:]
        power = np.array([float(row[1].removesuffix(" W")) for row in rows])
        percent = np.array([[float(row[i].removesuffix(" %")) for row in rows] for i in (2, 3)])
        yield json.loads(path.read_text()), power, percent, np.array([float(row[6]) for row in rows])


class Oracle:
    def __init__(self):
        self.rows = []

    def add(self, analysis, experiment, condition, mode, quantity, value):
        self.rows.append({"analysis": analysis, "experiment": experiment, "condition": condition,
                          "tee": MODES.get(mode), "quantity": quantity, "value": value})

    def throughput(self, experiment, condition, mode, files):
        values = [run["output_throughput"] for run in files]
        self.add("A5", experiment, condition, mode, "median output throughput", np.median(values))
        self.add("A5", experiment, condition, mode, "standard deviation of output throughput", np.std(values))

    def latencies(self, experiment, condition, mode, files):
        medians = [np.median(run["ttfts"]) for run in files]
        self.add("A6", experiment, condition, mode, "median time to first token", np.median(medians))
        self.add("A6", experiment, condition, mode, "95th percentile of time to first token",
                 np.median([np.percentile(run["ttfts"], 95) for run in files]))
        self.add("A6", experiment, condition, mode, "standard deviation of run medians of time to first token",
                 np.std(medians, ddof=1))
        decode = [run["mean_tpot_ms"] * np.mean(run["output_lens"]) for run in files]
        self.add("A7", experiment, condition, mode, "median decode latency", np.median(decode))
        self.add("A7", experiment, condition, mode, "standard deviation of decode latency", np.std(decode, ddof=1))

    def saturation(self, experiment, condition, mode, files):
        if mode != "tee_on":
            return
        values = [run["output_throughput"] for run in files]
        self.add("A10", experiment, condition, mode, "horizontal axis",
                 np.median([run["max_concurrent_requests"] for run in files]))
        self.add("A10", experiment, condition, mode, "median output throughput", np.median(values))
        self.add("A10", experiment, condition, mode, "standard deviation of output throughput", np.std(values))

    def sequence(self, experiment, condition, mode, files):
        values = [run["total_token_throughput"] for run in files]
        self.add("A12", experiment, condition, mode, "median total token throughput", np.median(values))
        self.add("A12", experiment, condition, mode, "standard deviation of total token throughput", np.std(values))

    def energy(self, experiment, condition, mode, read):
        values = [np.trapezoid(power, dx=1) / run["total_output_tokens"] for run, power, _, _ in read]
        self.add("A14", experiment, condition, mode, "joules per output token", np.median(values))
        self.add("A14", experiment, condition, mode, "standard deviation of joules per output token", np.std(values))

    def table(self, experiment, condition, mode, files):
        for run in files:
            called = f"repetition {run['repetition']}: "
            self.add("A1", experiment, condition, mode, called + "duration", run["duration"])
            self.add("A1", experiment, condition, mode, called + "output throughput", run["output_throughput"])
            self.add("A1", experiment, condition, mode, called + "total token throughput",
                     run["total_token_throughput"])
            self.add("A1", experiment, condition, mode, called + "cost", run["duration"] / 3600 * 7)

    def calibration(self, experiment, condition, mode, read):
        self.add("A4", experiment, condition, mode, "seconds per prompt",
                 np.median([run["duration"] / run["num_prompts"] for run, *_ in read]))
        for run, power, percent, temperature in read:
            series = {"power": power / 700 * 100, "GPU utilisation": percent[0], "memory utilisation": percent[1],
                      "temperature": temperature}
            for name, values in series.items():
                called = f"repetition {run['repetition']}: "
                self.add("A3", experiment, condition, mode, f"{called}mean {name}", np.mean(values))
                self.add("A3", experiment, condition, mode, f"{called}peak {name}", np.max(values))


def main():
    write_tree()
    oracle = Oracle()
    for experiment, conditions in EXPERIMENTS.items():
        seconds, count = 0.0, 0
        for condition in sorted(conditions, key=lambda name: [int(p) if p.isdigit() else p for p in name.split("_")]):
            totals = {}
            for mode in MODES:
                read = list(runs(experiment, condition, mode)) if (TREE / experiment / condition / mode).is_dir() else []
                files = [run for run, *_ in read]
                for run in files:
                    seconds, count = seconds + run["duration"], count + 1
                if not files:
                    continue
                other = experiment == "my.own_question"
                if experiment == "throughput_latency" or other:
                    oracle.table(experiment, condition, mode, files)
                    oracle.throughput(experiment, condition, mode, files)
                    oracle.latencies(experiment, condition, mode, files)
                if "calibration" in experiment:
                    oracle.calibration(experiment, condition, mode, read)
                if experiment.startswith("saturation"):
                    oracle.saturation(experiment, condition, mode, files)
                if experiment == "sequence_overhead":
                    oracle.sequence(experiment, condition, mode, files)
                    totals[mode] = np.median([run["total_token_throughput"] for run in files])
                if experiment == "energy" or other:
                    oracle.energy(experiment, condition, mode, read)
            if totals:
                off, on = totals["tee_off"], totals["tee_on"]
                oracle.add("A13", experiment, condition, None, "cost premium (the notebook's overhead)",
                           100 * ((off - on) / on))
        if experiment in ("throughput_latency", "saturation_point", "sequence_overhead", "energy"):
            oracle.add("A0", experiment, "", None, "runs", count)
            oracle.add("A0", experiment, "", None, "cost", seconds / 3600 * 7)
        if experiment.startswith("saturation"):
            oracle.add("A11", experiment, "", None, "duration in seconds", seconds)
    document = {"versions": {"numpy": np.__version__}, "rows": oracle.rows}
    (HERE / "oracle.json").write_text(json.dumps(document, indent=0, default=float) + "\n")


main()
