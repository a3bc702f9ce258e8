"""Video models of other packages: how DiffSynth learns of them, and the suite that gates them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pytest_wanlora.registry import Extension, ExtensionFile, extensions


@dataclass(frozen=True)
class Model:
    """A video model of another package, named by an entry point of the group `wanlora.models`.

    Attributes:
        register: Adds the model to the tables of DiffSynth; called once, before anything is loaded.
        version: Raised whenever `register` changes what is loaded; part of the fingerprint.
        suite: A suite file with the model's files, architecture and sampling; it is then a packaged suite
            with the name of the entry point. None: users write their own suite, with `register: NAME`.
        files: What it needs on this machine besides the files that the suite names.
    """

    register: Callable[[], None]
    version: int = 1
    suite: Path | None = None
    files: tuple[ExtensionFile, ...] = ()


@cache
def added_models() -> Mapping[str, Extension[Model]]:
    """The models of installed packages, by name."""
    found = extensions("wanlora.models", Model)
    for each in found:
        if each.value.suite is not None and not each.value.suite.is_file():
            raise each.wrong(f"its suite {each.value.suite} is not a file")
    return MappingProxyType({each.name: each for each in found})


def register(name: str) -> None:
    """Call what the key `model.register` of a suite names: `module:function`, or an installed model."""
    module, colon, function = name.partition(":")
    if colon:
        getattr(importlib.import_module(module), function)()
    else:
        added_models()[name].value.register()
