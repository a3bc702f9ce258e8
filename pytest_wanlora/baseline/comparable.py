"""Whether a baseline was measured as a run measures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from pytest_wanlora import environment as environments
from pytest_wanlora.baseline.contents import Baseline, Prompt
from pytest_wanlora.baseline.store import update_command
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import IncomparableError
from pytest_wanlora.suite.sampling import LEVERS

#: What a fingerprint means by keys that it leaves out, as those of before these keys do.
_LEFT_OUT: Final[Mapping[str, object]] = MappingProxyType(
    {
        "scoring.clip.frame": "middle",
        "scoring.frames": "the suite's CLIP",
        # what `text_once` is says nothing without `compile`
        **{f"sampling.{name}": value for name, value in LEVERS.items() if name != "text_once"},
    }
)


def require_comparable(
    baseline: Baseline,
    *,
    fingerprint: Mapping[str, Any],
    prompts: Mapping[str, Prompt],
    environment: Environment,
    other_environment: bool,
    again: str = "",
) -> tuple[str, ...]:
    """Check that a baseline was measured as this run measures.

    Args:
        again: The command that measures it, for an error; that of a packaged suite when left out.

    Returns:
        Lines on what differs and does not count by itself: library versions, and what the user allowed.

    Raises:
        IncomparableError: The fingerprint, a prompt or the environment differs; names each difference.
    """
    again = again or update_command(baseline.suite, baseline.name)
    lines = list(differing(baseline.fingerprint, fingerprint))
    for scenario, prompt in sorted(prompts.items()):
        stored = baseline.prompts.get(scenario)
        if stored is not None:
            lines += differing(stored.model_dump(), prompt.model_dump(), f"scenarios.{scenario}")
    if lines:
        raise _incomparable(baseline, "was measured with another suite", lines, again)
    hard, soft = environments.differences(baseline.environment, environment)
    if hard and not other_environment:
        raise _incomparable(baseline, "was measured in another environment", hard, again)
    return (*hard, *soft)


def _incomparable(baseline: Baseline, what: str, lines: list[str], again: str) -> IncomparableError:
    shown = lines[:20] + ([f"... and {len(lines) - 20} more"] if len(lines) > 20 else [])
    listed = "\n".join(f"  {line}" for line in shown)
    return IncomparableError(
        f"the baseline {baseline.name!r} of suite {baseline.suite!r} {what}:\n{listed}", next_command=again
    )


def differing(stored: object, here: object, key: str = "") -> Iterator[str]:
    """Say where two JSON values differ, a line each: `key: baseline 50, here 20`."""
    if isinstance(stored, Mapping) and isinstance(here, Mapping):
        for name in sorted({*stored, *here}, key=str):
            at = f"{key}.{name}" if key else str(name)
            if name not in stored or name not in here:
                absent = json.dumps(_LEFT_OUT[at]) if at in _LEFT_OUT else "nothing"
                sides = [json.dumps(side[name]) if name in side else absent for side in (stored, here)]
                yield f"{at}: baseline {sides[0]}, here {sides[1]}"
            else:
                yield from differing(stored[name], here[name], at)
    # as text: False and 0 are equal in Python, and not in JSON
    elif json.dumps(stored, sort_keys=True) != json.dumps(here, sort_keys=True):
        yield f"{key}: baseline {json.dumps(stored)}, here {json.dumps(here)}"
