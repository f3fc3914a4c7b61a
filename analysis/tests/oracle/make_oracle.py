"""Writes oracle.json: what numpy and scipy say of fixed inputs, for tests/oracle.rs.

Run `python make_oracle.py` in an environment with numpy and scipy, and commit the output with the versions in it.
"""

import json
import pathlib

import numpy as np
import scipy
from scipy import stats

MARGIN = (np.log(0.98), np.log(1.02))


def cases():
    random = np.random.default_rng(20261122)
    for count, shift, spread in [(2, 0.1, 0.02), (3, -0.05, 0.03), (6, -0.07, 0.01), (6, 0.0, 0.004), (9, 0.01, 0.05),
                                 (12, -0.15, 0.02), (15, 0.002, 0.01)]:
        denominator = np.exp(random.normal(7.0, 0.05, count))
        numerator = denominator * np.exp(random.normal(shift, spread, count))
        yield numerator, denominator


def median_interval(values):
    """Ranks by the binomial distribution; the largest k with 2 P(B < k) <= 0.05."""
    count, ordered = len(values), np.sort(values)
    ranks = [k for k in range(1, count // 2 + 1) if 2 * stats.binom.cdf(k - 1, count, 0.5) <= 0.05]
    if not ranks:
        return None
    k = ranks[-1]
    return [ordered[k - 1], ordered[count - k], 1 - 2 * stats.binom.cdf(k - 1, count, 0.5)]


def paired(numerator, denominator):
    differences = np.log(numerator) - np.log(denominator)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    above = stats.ttest_1samp(differences, MARGIN[0], alternative="greater").pvalue
    below = stats.ttest_1samp(differences, MARGIN[1], alternative="less").pvalue
    flips = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    return {"mean": differences.mean(), "low": interval.low, "high": interval.high, "p": test.pvalue,
            "equivalence_p": max(above, below), "sign_flip_p": flips.pvalue}


def unpaired(numerator, denominator):
    top, bottom = np.log(numerator), np.log(denominator)
    test = stats.ttest_ind(top, bottom, equal_var=False)
    interval = test.confidence_interval(0.95)
    return {"difference": top.mean() - bottom.mean(), "degrees": test.df, "low": interval.low, "high": interval.high,
            "p": test.pvalue}


def cliffs_delta(numerator, denominator):
    """By the Mann-Whitney U of the same samples: delta = 2 U / (m n) - 1."""
    u = stats.mannwhitneyu(numerator, denominator).statistic
    return 2 * u / (len(numerator) * len(denominator)) - 1


def trend(values):
    if len(values) < 3:
        return None
    line = stats.linregress(np.arange(len(values)), values)
    return {"slope": line.slope, "intercept": line.intercept, "standard_error": line.stderr, "p": line.pvalue}


def holm(p_values):
    """Step-down by the definition, apart from the implementation under test."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(p_values) - np.arange(len(p_values)))
                                                          * np.asarray(p_values)[order]))
    return list(adjusted)


def case(numerator, denominator):
    return {
        "numerator": list(numerator),
        "denominator": list(denominator),
        "percentiles": {str(p): np.percentile(numerator, p) for p in (0, 25, 50, 90, 95, 99, 100)},
        "median_interval": median_interval(numerator),
        "paired": paired(numerator, denominator),
        "unpaired": unpaired(numerator, denominator[:-1]) if len(numerator) > 2 else None,
        "cliffs_delta": cliffs_delta(numerator, denominator),
        "trend": trend(numerator),
    }


def students():
    return [{"degrees": df, "probability": p, "quantile": stats.t.ppf(p, df), "cumulative": stats.t.cdf(1.7, df)}
            for df in (1, 2, 3.7, 5, 11, 29.4, 200) for p in (0.9, 0.95, 0.975, 0.995)]


def result_file(path):
    """Percentiles by numpy over the completed requests of a result file."""
    content = json.loads(path.read_text())
    answered = [index for index, error in enumerate(content["errors"]) if error == ""]
    gaps = [content["itls"][index] for index in answered]
    ttfts = np.array([content["ttfts"][index] for index in answered])
    latencies = np.array([content["latencies"][index] if "latencies" in content else content["ttfts"][index] + sum(gap)
                          for index, gap in zip(answered, gaps)])
    tokens = np.array([content["output_lens"][index] for index in answered])
    pooled = np.concatenate([np.asarray(gap) for gap in gaps])
    tpots = ((latencies - ttfts) / (tokens - 1))[tokens > 1]
    groups = {"ttft": ttfts, "itl": pooled, "tpot": tpots, "e2el": latencies}
    figures = {}
    for name, values in groups.items():
        figures[f"{name}_mean"] = values.mean() * 1e3
        for percent in (50, 95, 99):
            figures[f"{name}_p{percent}"] = np.percentile(values, percent) * 1e3
    return {"file": path.name, "requests": len(answered), "figures": figures}


def main():
    here = pathlib.Path(__file__).parent
    p_values = [0.01, 0.04, 0.03, 0.005, 0.6]
    oracle = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "cases": [case(*sides) for sides in cases()],
        "students": students(),
        "holm": {"p_values": p_values, "adjusted": holm(p_values)},
        "result_files": [result_file(path) for path in sorted((here.parent / "data").glob("*.json"))
                         if "errors" in json.loads(path.read_text()) and any(
                             error == "" for error in json.loads(path.read_text())["errors"])],
    }
    (here / "oracle.json").write_text(json.dumps(oracle, indent=1) + "\n")


main()
