"""One server under teebench's probe: `vllm serve`, or the simulator in its place."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

# Of every server: what the measurements need to be comparable with each other and with the simulator's fit.
MAX_NUM_SEQS = 128
MAX_NUM_BATCHED_TOKENS = 8192
PATIENCE_SECONDS = 400


class Server:
    """A server of MODEL_DIR, named after it; a context manager that returns once it answers."""

    def __init__(self, model_dir, out, port, probe_port, simulate, teebench):
        self.model_dir = Path(model_dir)
        self.model = self.model_dir.name
        self.url = f"http://127.0.0.1:{port}"
        self.probe_url = f"http://127.0.0.1:{probe_port}"
        self.log_dir = Path(out) / f"logs-{self.model}"
        gpu = "auto"
        shared = ["--port", str(port), "--max-num-seqs", str(MAX_NUM_SEQS), "--no-enable-prefix-caching"]
        shared += ["--max-num-batched-tokens", str(MAX_NUM_BATCHED_TOKENS), "--max-model-len", "8448"]
        if simulate:
            gpu_file = Path(out).resolve() / f"gpu-{self.model}.json"
            gpu = f"simulated:{gpu_file}"
            engine = [teebench, "mock-vllm", "--host", "127.0.0.1", "--model", self.model, "--profile", "H200"]
            engine += ["--model-size", self.model.removeprefix("llama-"), "--gpu-file", str(gpu_file), *shared]
        else:
            engine = ["vllm", "serve", str(self.model_dir), "--host", "127.0.0.1", "--served-model-name", self.model]
            engine += ["--load-format", "dummy", "--dtype", "bfloat16", "--gpu-memory-utilization", "0.8", *shared]
        self.command = [teebench, "probe", "exec", "--port", str(probe_port), "--gpu", gpu, "--engine-url", self.url]
        self.command += ["--served-model", self.model, "--log-dir", str(self.log_dir), "--", *engine]

    def __enter__(self):
        self.log_dir.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with open(self.log_dir / "probe.log", "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.model}: the server ended with {self.process.returncode}; see {self.log_dir}")
            if time.monotonic() - began > PATIENCE_SECONDS:
                self.__exit__()
                raise SystemExit(f"{self.model}: no token after {PATIENCE_SECONDS} s; see {self.log_dir}")
            try:
                with urllib.request.urlopen(f"{self.probe_url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                pass
            time.sleep(0.2)
        print(f"{self.model} serves after {time.monotonic() - began:.0f} s", flush=True)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def get(self, path):
        """What the probe answers, as bytes."""
        with urllib.request.urlopen(self.probe_url + path, timeout=60) as answer:
            return answer.read()

    def clock_ns(self):
        """The probe's clock, in nanoseconds since 1970."""
        return json.loads(self.get("/clock"))["unix_ns"]

    def probe_cpu_seconds(self):
        """Processor time of the probe itself so far, its engine's apart."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loadgen(teebench, server, out, name, flags, url=None):
    """Runs our client once; its result file. A result that is there already stands."""
    path = Path(out) / name
    if path.exists():
        return json.loads(path.read_text())
    command = [teebench, "loadgen", "--base-url", url or server.url, "--model", server.model]
    command += ["--tokenizer", str(server.model_dir), "--ignore-eos", "--disable-tqdm", "--save-result", "--save-detailed", "--result-dir", str(out)]
    command += ["--result-filename", f"{name}.part", *flags]
    log = Path(out) / f"{name}.log"
    with open(log, "wb") as file:
        code = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if code != 0:
        raise SystemExit(f"{name}: the client ended with {code}; see {log}")
    (Path(out) / f"{name}.part").rename(path)
    return json.loads(path.read_text())
