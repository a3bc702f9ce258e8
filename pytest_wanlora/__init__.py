"""A pytest plugin that decides, with evidence, whether a LoRA of a Wan video model may be published.

What this module exports is the public API; every other name may change in any release. A name is loaded on
its first use: `import pytest_wanlora` imports neither torch nor pytest.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_wanlora.metrics import METRICS as METRICS
    from pytest_wanlora.metrics import Metric as Metric

    __version__: str

_HOMES = {
    "METRICS": "metrics",
    "Metric": "metrics",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the imports above
    if name == "__version__":
        return metadata.version("pytest-wanlora")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
