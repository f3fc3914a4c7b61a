"""What each client calls TTFT, ITL, TPOT and latency, computed from the raw stream. All in milliseconds.

| client | TTFT to | ITL | latency to |
| --- | --- | --- | --- |
| teebench, vLLM 0.32 | first chunk with output | all gaps between chunks with output, pooled | last chunk with output |
| aiperf 0.13 | first event | (latency - TTFT) / (tokens - 1) of each request | last event with data but `[DONE]` |
| guidellm 0.8 | first chunk with output | (last - first chunk) / (tokens - 1) of each request | end of the response |
"""

from statistics import median


def pooled_gaps(exchanges):
    return [1e3 * (b - a) for e in exchanges for a, b in zip(e.output, e.output[1:])]


def teebench(exchanges):
    many = [e for e in exchanges if e.tokens > 1]
    return {
        "ttft": median(1e3 * (e.output[0] - e.started) for e in exchanges),
        "itl": median(pooled_gaps(exchanges)),
        "tpot": median(1e3 * (e.output[-1] - e.output[0]) / (e.tokens - 1) for e in many),
        "e2el": median(1e3 * (e.output[-1] - e.started) for e in exchanges),
    }


def aiperf(exchanges):
    many = [e for e in exchanges if e.tokens > 1]
    last = lambda e: e.events[-2]
    return {
        "ttft": median(1e3 * (e.events[0] - e.started) for e in exchanges),
        "tpot": median(1e3 * (last(e) - e.events[0]) / (e.tokens - 1) for e in many),
        "e2el": median(1e3 * (last(e) - e.started) for e in exchanges),
    }


def guidellm(exchanges):
    many = [e for e in exchanges if e.tokens > 1]
    return {
        "ttft": median(1e3 * (e.output[0] - e.started) for e in exchanges),
        "tpot": median(1e3 * (e.output[-1] - e.output[0]) / (e.tokens - 1) for e in many),
        "e2el": median(1e3 * (e.events[-1] - e.started) for e in exchanges),
    }
