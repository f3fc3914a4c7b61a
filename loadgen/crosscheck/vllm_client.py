"""Starts vLLM's own `vllm bench serve` without the engine that it is shipped with.

`pip install --no-deps vllm` and the client's own needs are enough (README.md): modules of the engine's that are not
installed (PyTorch and Triton) are stood in for by empty ones, which the client imports and never calls. The client's modules
run as they are.
"""

import argparse
import asyncio
import importlib.abc
import importlib.machinery
import sys
from unittest.mock import MagicMock

STOOD_IN_FOR = {"torch", "torchvision", "torchaudio", "triton"}


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in STOOD_IN_FOR:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__name__, module.__path__, module.__spec__, module.__version__ = spec.name, [], spec, "2.9.0"
        return module

    def exec_module(self, module):
        pass


def main():
    sys.meta_path.insert(0, StandIn())
    from vllm.benchmarks.serve import add_cli_args, main_async

    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    asyncio.run(main_async(parser.parse_args()))


if __name__ == "__main__":
    main()
