"""A pytest plugin with which importing torch fails, for runs that must end before they need it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoTorch(MetaPathFinder):
    """Refuses the import and leaves `sys.modules` alone, where libraries look whether torch is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torch":
            raise ImportError("torch is not to be imported in this run")
        return None


if "torch" in sys.modules:
    raise ImportError("torch was imported before the run began")
sys.meta_path.insert(0, _NoTorch())
