"""Stand-ins for packages that nnU-Net's trainers import and the peer's environment has not."""

import importlib.machinery
import sys
import types
from unittest.mock import MagicMock

import torch


class StandIn(types.ModuleType):
    """A module of which anything can be imported."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class Adan(torch.optim.Adam):
    """Takes what nnU-Net gives to adan_pytorch's optimizer."""


class Finder:
    """Finds stand-ins for the packages that nnU-Net's trainers ask for in vain."""

    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torchvision", "adan_pytorch"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = StandIn(spec.name)
        module.Adan = Adan
        return module

    def exec_module(self, module):
        pass


def install_stand_ins() -> None:
    sys.meta_path.append(Finder())
