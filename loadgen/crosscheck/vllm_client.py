"""Starts vLLM's own `vllm bench serve` without the engine that it is shipped with.

`pip install --no-deps vllm` and the client's own needs are enough (README.md): modules of the engine's that are not
installed (PyTorch and Triton) are stood in for by empty ones, which the client imports and never calls. The client's modules
run as they are.
"""

import abc
import argparse
import asyncio
import importlib.abc
import importlib.machinery
import sys
import types
from unittest.mock import MagicMock

STOOD_IN_FOR = {"torch", "torchvision", "torchaudio", "triton"}


class HasAnything(abc.ABCMeta):
    """Classes with whatever attribute is asked for; of abstract classes' kind, so that they can be mixed with those."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{cls.__name__}.{name}")


class AnyClass(metaclass=HasAnything):
    """What classes of a stood-in module derive from: they can be made of anything and have any method."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class StandIn(types.ModuleType):
    """A module that has whatever is asked for: classes that can be inherited from, and things that can be called."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = HasAnything(name, (AnyClass,), {}) if name[0].isupper() else MagicMock(name=f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in STOOD_IN_FOR:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = StandIn(spec.name)
        # A version that is too old for transformers, which then does without PyTorch.
        module.__path__, module.__version__ = [], "1.0"
        return module

    def exec_module(self, module):
        pass


def main():
    sys.meta_path.insert(0, Finder())
    from vllm.benchmarks.serve import add_cli_args, main_async

    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    asyncio.run(main_async(parser.parse_args()))


if __name__ == "__main__":
    main()
