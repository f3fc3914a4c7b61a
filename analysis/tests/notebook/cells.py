"""Reads an exported tree the way the notebook's cells do, draws their figures and holds every number against ours.

    teebench export results/ --out tree/
    teebench report tree/ --mode compatible -o json --out compatible.json
    python cells.py tree/ compatible.json --figures figures/

Needs numpy, pandas and matplotlib. Nothing here is lenient: the notebook takes every directory for an experiment, every
`*_repetition_*` file for a run or its power file, and the texts of nvidia-smi with their units and blanks for granted.
Exit code 1 when a figure differs in its last digit, or when either side has one that the other lacks.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

BOARD_WATTS = 700
PRICE_PER_HOUR = 7
MODES = {"tee_off": "Disabled", "tee_on": "Enabled"}
COLOURS = {"tee_off": "tab:blue", "tee_on": "tab:orange"}
IN_TOTALS = ["throughput_latency", "saturation_point", "sequence_overhead", "energy"]


# Cell: a run and its files.


@dataclasses.dataclass
class Run:
    """The fields that the notebook has for a run; one that a file lacks is an error there."""

    date: str
    backend: str
    model_id: str
    tokenizer_id: str
    num_prompts: int
    request_rate: float
    burstiness: float
    max_concurrency: int
    duration: float
    completed: int
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    output_throughput: float
    total_token_throughput: float
    input_lens: list
    output_lens: list
    ttfts: list
    itls: list
    errors: list
    max_concurrent_requests: int
    mean_ttft_ms: float
    median_ttft_ms: float
    mean_tpot_ms: float
    median_itl_ms: float
    repetition: int = 0
    power: pd.DataFrame | None = None

    def __str__(self):
        return (f"[{self.repetition}] {self.model_id}, {self.num_prompts} prompts, "
                f"input {np.mean(self.input_lens):.0f}, output {np.mean(self.output_lens):.0f}, "
                f"concurrency {self.max_concurrent_requests}/{self.max_concurrency}")


def read_run(path):
    document = json.loads(path.read_text())
    names = [field.name for field in dataclasses.fields(Run) if field.name not in ("repetition", "power")]
    run = Run(**{name: document[name] for name in names})
    run.request_rate = float(run.request_rate)
    run.repetition = int(path.stem.split("repetition_")[1])
    run.power = pd.read_csv(path.with_name(path.stem + "_power_metrics.csv"))
    run.power["timestamp"] = pd.to_datetime(run.power["timestamp"])
    for column, unit in {" power.draw [W]": " W", " utilization.gpu [%]": " %", " utilization.memory [%]": " %",
                         " clocks.current.graphics [MHz]": " MHz", " clocks.current.memory [MHz]": " MHz"}.items():
        run.power[column] = run.power[column].str.removesuffix(unit).astype(float)
    run.power[" temperature.gpu"] = run.power[" temperature.gpu"].astype(int)
    return run


# Cell: the tree.


def read_mode(directory):
    results = list(directory.glob("*repetition_*.json"))
    powers = list(directory.glob("*repetition_*.csv"))
    assert len(results) == len(powers), f"{directory}: {len(results)} results and {len(powers)} power files"
    assert len(results) + len(powers) == len(list(directory.glob("*repetition_*"))), f"{directory}: another file"
    return sorted((read_run(path) for path in results), key=lambda run: run.repetition)


def natural(name):
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def read_tree(root):
    tree = {}
    for experiment in sorted(path for path in root.iterdir() if path.is_dir()):
        conditions = sorted((path for path in experiment.iterdir() if path.is_dir()), key=lambda path: natural(path.name))
        tree[experiment.name] = {
            condition.name: {mode: read_mode(condition / mode) for mode in MODES if (condition / mode).is_dir()}
            for condition in conditions
        }
    return tree


def model_size(condition):
    return float(re.search(r"([\d.]+)B", condition).group(1))


# Cells: the analyses. Each number is told once, under the name that our report has for it.


class Numbers:
    def __init__(self):
        self.found = {}

    def tell(self, analysis, experiment, condition, mode, quantity, value):
        self.found[analysis, experiment, condition, MODES.get(mode), quantity] = float(value)


def totals(tree, numbers):
    for experiment in IN_TOTALS:
        runs = [run for modes in tree[experiment].values() for mode in modes.values() for run in mode]
        numbers.tell("A0", experiment, "", None, "runs", len(runs))
        hours = sum(run.duration for run in runs) / 3600
        numbers.tell("A0", experiment, "", None, "cost", hours * PRICE_PER_HOUR)


def throughput_latency(tree, numbers, figures):
    conditions = sorted(tree, key=model_size)
    table = {"throughput": [], "ttft": [], "decode": []}
    for condition in conditions:
        for mode, runs in tree[condition].items():
            for run in runs:
                assert not any(run.errors) and run.completed == run.num_prompts, f"{condition} {mode} {run}"
                called = f"repetition {run.repetition}: "
                for quantity, value in {"duration": run.duration, "output throughput": run.output_throughput,
                                        "total token throughput": run.total_token_throughput,
                                        "cost": run.duration / 3600 * PRICE_PER_HOUR}.items():
                    numbers.tell("A1", "throughput_latency", condition, mode, called + quantity, value)

            def tell(analysis, quantity, value):
                numbers.tell(analysis, "throughput_latency", condition, mode, quantity, value)

            rates = [run.output_throughput for run in runs]
            tell("A5", "median output throughput", np.median(rates))
            tell("A5", "standard deviation of output throughput", np.std(rates))
            medians = [np.median(run.ttfts) for run in runs]
            tell("A6", "median time to first token", np.median(medians))
            tell("A6", "95th percentile of time to first token",
                 np.median([np.percentile(run.ttfts, 95) for run in runs]))
            tell("A6", "standard deviation of run medians of time to first token", np.std(medians, ddof=1))
            decode = [run.mean_tpot_ms * np.mean(run.output_lens) for run in runs]
            tell("A7", "median decode latency", np.median(decode))
            tell("A7", "standard deviation of decode latency", np.std(decode, ddof=1))
            for name, values in {"throughput": rates, "ttft": medians, "decode": decode}.items():
                table[name].append((condition, mode, np.median(values), np.std(values)))
    for name, rows in table.items():
        figure, axes = plt.subplots()
        for offset, mode in enumerate(MODES):
            of_mode = [row for row in rows if row[1] == mode]
            axes.bar(np.arange(len(of_mode)) + 0.4 * offset, [row[2] for row in of_mode], 0.4,
                     yerr=[row[3] for row in of_mode], color=COLOURS[mode], label=mode)
        axes.set_xticks(np.arange(len(conditions)) + 0.2, conditions)
        axes.legend()
        save(figure, figures, f"throughput_latency-{name}")


def calibration(tree, numbers, figures):
    columns = {"power": (" power.draw [W]", 100 / BOARD_WATTS), "GPU utilisation": (" utilization.gpu [%]", 1),
               "memory utilisation": (" utilization.memory [%]", 1), "temperature": (" temperature.gpu", 1)}
    experiment = "throughput_latency_mns-calibration"
    figure, grid = plt.subplots(len(tree), 1, figsize=(6, 2 * len(tree)), squeeze=False)
    for axes, (condition, modes) in zip(grid[:, 0], tree.items()):
        runs = modes["tee_on"]
        numbers.tell("A4", experiment, condition, "tee_on", "seconds per prompt",
                     np.median([run.duration / run.num_prompts for run in runs]))
        for run in runs:
            for name, (column, _) in columns.items():
                values = run.power[column].to_numpy(dtype=float)
                values = values / BOARD_WATTS * 100 if name == "power" else values
                called = f"repetition {run.repetition}: "
                numbers.tell("A3", experiment, condition, "tee_on", f"{called}mean {name}", np.mean(values))
                numbers.tell("A3", experiment, condition, "tee_on", f"{called}peak {name}", np.max(values))
                axes.plot(values, label=name)
        axes.set_title(condition)
    save(figure, figures, experiment)


def saturation(experiment, tree, numbers, figures):
    figure, axes = plt.subplots()
    points = []
    for condition, modes in tree.items():
        runs = modes["tee_on"]
        rates = [run.output_throughput for run in runs]
        peak = np.median([run.max_concurrent_requests for run in runs])
        numbers.tell("A10", experiment, condition, "tee_on", "horizontal axis", peak)
        numbers.tell("A10", experiment, condition, "tee_on", "median output throughput", np.median(rates))
        numbers.tell("A10", experiment, condition, "tee_on", "standard deviation of output throughput", np.std(rates))
        points.append((peak, np.median(rates), np.std(rates)))
    axes.errorbar(*zip(*[(x, y) for x, y, _ in points]), yerr=[error for *_, error in points])
    save(figure, figures, experiment)
    everything = [run for modes in tree.values() for mode in modes.values() for run in mode]
    for quantity, value in {"runs": len(everything), "duration in seconds": sum(run.duration for run in everything),
                            "requests completed": sum(run.completed for run in everything),
                            "output tokens": sum(run.total_output_tokens for run in everything)}.items():
        numbers.tell("A11", experiment, "", None, quantity, value)


def sequence(tree, numbers, figures):
    cells = []
    for condition, modes in tree.items():
        lengths = re.fullmatch(r"input_(\d+)_output_(\d+)", condition)
        medians = {}
        for mode, runs in modes.items():
            rates = [run.total_token_throughput for run in runs]
            medians[mode] = np.median(rates)
            numbers.tell("A12", "sequence_overhead", condition, mode, "median total token throughput", medians[mode])
            numbers.tell("A12", "sequence_overhead", condition, mode, "standard deviation of total token throughput",
                         np.std(rates))
        overhead = 100 * ((medians["tee_off"] - medians["tee_on"]) / medians["tee_on"])
        numbers.tell("A13", "sequence_overhead", condition, None, "cost premium (the notebook's overhead)", overhead)
        cells.append({"input": int(lengths[1]), "output": int(lengths[2]), "throughput": medians["tee_on"],
                      "overhead": overhead})
    for value in ("throughput", "overhead"):
        grid = pd.DataFrame(cells).pivot(index="input", columns="output", values=value)
        figure, axes = plt.subplots()
        axes.imshow(grid)
        axes.set_xticks(range(len(grid.columns)), grid.columns)
        axes.set_yticks(range(len(grid.index)), grid.index)
        save(figure, figures, f"sequence_overhead-{value}")


def energy(tree, numbers, figures):
    figure, axes = plt.subplots()
    for mode in MODES:
        sizes, medians = [], []
        for condition in sorted(tree, key=model_size):
            runs = tree[condition][mode]
            values = [np.trapezoid(run.power[" power.draw [W]"], dx=1) / run.total_output_tokens for run in runs]
            numbers.tell("A14", "energy", condition, mode, "joules per output token", np.median(values))
            numbers.tell("A14", "energy", condition, mode, "standard deviation of joules per output token",
                         np.std(values))
            sizes.append(model_size(condition))
            medians.append(np.median(values))
        axes.plot(sizes, medians, marker="o", color=COLOURS[mode], label=mode)
    axes.legend()
    save(figure, figures, "energy")


def save(figure, directory, name):
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
        figure.savefig(directory / f"{name}.png")
    plt.close(figure)


def ours(path):
    return {
        (row["analysis"], row["experiment"], row["condition"], row["tee"], row["quantity"]): row["compatible"]["value"]
        for row in json.loads(path.read_text())
        if isinstance(row["compatible"], dict)
    }


def same(left, right):
    return left == right or (np.isnan(left) and np.isnan(right))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=pathlib.Path)
    parser.add_argument("compatible", type=pathlib.Path)
    parser.add_argument("--figures", type=pathlib.Path)
    arguments = parser.parse_args()
    tree, numbers = read_tree(arguments.tree), Numbers()
    totals(tree, numbers)
    for experiment in tree:
        numbers.tell("A15", experiment, "", None, "price of a machine and hour", PRICE_PER_HOUR)
    throughput_latency(tree["throughput_latency"], numbers, arguments.figures)
    calibration(tree["throughput_latency_mns-calibration"], numbers, arguments.figures)
    for experiment in tree:
        if experiment.startswith("saturation_point"):
            saturation(experiment, tree[experiment], numbers, arguments.figures)
    sequence(tree["sequence_overhead"], numbers, arguments.figures)
    energy(tree["energy"], numbers, arguments.figures)
    expected, found = ours(arguments.compatible), numbers.found
    faults = [f"{key}: the cells have it and the report lacks it" for key in found.keys() - expected.keys()
              if not np.isnan(found[key])]
    faults += [f"{key}: the report has it and the cells lack it" for key in expected.keys() - found.keys()]
    faults += [f"{key}: {found[key]!r} in the cells, {expected[key]!r} in the report"
               for key in found.keys() & expected.keys() if not same(found[key], expected[key])]
    runs = sum(len(mode) for conditions in tree.values() for modes in conditions.values() for mode in modes.values())
    print(f"{runs} runs read; {len(found)} figures, {len(faults)} of them differ (numpy {np.__version__}, "
          f"pandas {pd.__version__}, matplotlib {matplotlib.__version__})")
    for fault in sorted(faults):
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
