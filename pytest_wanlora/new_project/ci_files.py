"""CI files of a new gate: templates with the suite's name and its limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import Limit, Suite

PATHS: Final[Mapping[str, Path]] = MappingProxyType(
    {"github": Path(".github/workflows/wanlora.yml"), "gitlab": Path(".gitlab-ci.yml")}
)
"""Where each kind reads its file, below the root of the repository."""

_TEMPLATES: Final = Path(__file__).parent


def compose(kind: str, suite: Suite) -> str:
    """Write a CI file's text, with a gate and a publish job.

    Args:
        kind: Of `PATHS`.
        suite: The publish job demands its name and limits of the receipt; a later change of the suite does
            not change them.
    """
    text = (_TEMPLATES / f"{kind}.yaml").read_text(encoding="utf-8")
    demands = [f"--suite {shlex.quote(suite.name)}", "--max-runs 3"]
    if bounds := " ".join(shlex.quote(bound) for bound in _bounds(suite.limits)):
        demands.insert(0, f"--require {bounds}")
    return text.replace("DEMANDS", " ".join(demands))


def _bounds(limits: Iterable[Limit]) -> Iterator[str]:
    for limit in limits:
        usual = "all" if METRICS[limit.metric].level == "set" else "each"
        place = "" if limit.scenario == usual else f"@{limit.scenario}"
        if limit.min is not None:
            yield f"{limit.metric}>={_number(limit.min)}{place}"
        if limit.max is not None:
            yield f"{limit.metric}<={_number(limit.max)}{place}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
