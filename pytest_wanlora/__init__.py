"""A pytest plugin that decides, with evidence, whether a LoRA of a Wan video model may be published.

What this module exports is the public API; every other name may change in any release. A name is loaded on
its first use: `import pytest_wanlora` imports neither torch nor pytest.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_wanlora.api import gate, load_record, read_receipt
    from pytest_wanlora.baseline import Baseline, load_baseline
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.checkpoint import read as read_checkpoint
    from pytest_wanlora.checkpoint.formats import LoraFormat
    from pytest_wanlora.errors import WanloraError
    from pytest_wanlora.metrics import METRICS, Metric
    from pytest_wanlora.publishing.verify import Demands, Verification
    from pytest_wanlora.publishing.verify import verify as verify_receipt
    from pytest_wanlora.registry import ExtensionFile
    from pytest_wanlora.reports.writing import Report
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.suite import Scenario, Suite
    from pytest_wanlora.suite import load as load_suite
    from pytest_wanlora.suite.fields import SuiteFile
    from pytest_wanlora.suite.models import Model
    from pytest_wanlora.verdict.judgement import Judgement, Verdict

    __version__: str

__all__ = [
    "METRICS",
    "Baseline",
    "Checkpoint",
    "Demands",
    "ExtensionFile",
    "Judgement",
    "LoraFormat",
    "Metric",
    "Model",
    "Report",
    "RunRecord",
    "Scenario",
    "Suite",
    "SuiteFile",
    "Verdict",
    "Verification",
    "WanloraError",
    "__version__",
    "gate",
    "load_baseline",
    "load_record",
    "load_suite",
    "read_checkpoint",
    "read_receipt",
    "verify_receipt",
]

_HOMES = {
    "Baseline": "baseline:Baseline",
    "Checkpoint": "checkpoint:Checkpoint",
    "Demands": "publishing.verify:Demands",
    "ExtensionFile": "registry:ExtensionFile",
    "Judgement": "verdict.judgement:Judgement",
    "LoraFormat": "checkpoint.formats:LoraFormat",
    "METRICS": "metrics:METRICS",
    "Metric": "metrics:Metric",
    "Model": "suite.models:Model",
    "Report": "reports.writing:Report",
    "RunRecord": "results.run_record:RunRecord",
    "Scenario": "suite:Scenario",
    "Suite": "suite:Suite",
    "SuiteFile": "suite.fields:SuiteFile",
    "Verdict": "verdict.judgement:Verdict",
    "Verification": "publishing.verify:Verification",
    "WanloraError": "errors:WanloraError",
    "gate": "api:gate",
    "load_baseline": "baseline:load_baseline",
    "load_record": "api:load_record",
    "load_suite": "suite:load",
    "read_checkpoint": "checkpoint:read",
    "read_receipt": "api:read_receipt",
    "verify_receipt": "publishing.verify:verify",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the imports above
    if name == "__version__":
        return metadata.version("pytest-wanlora")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
