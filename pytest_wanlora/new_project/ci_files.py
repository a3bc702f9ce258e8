"""CI files of a new gate: templates with the suite's name and its limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pytest_wanlora.checkpoint.experts import EXPERTS
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import Limit, Suite

PATHS: Final[Mapping[str, Path]] = MappingProxyType(
    {"github": Path(".github/workflows/wanlora.yml"), "gitlab": Path(".gitlab-ci.yml")}
)
"""Where each kind reads its file, below the root of the repository."""

_TEMPLATES: Final = Path(__file__).parent
#: What the templates say of one LoRA and, for a model with two experts, of each.
_OF_EACH: Final = (
    """\
      checkpoint:
        description: the LoRA, a path on the GPU runner
        required: true
        type: string
""",
    """\
  CHECKPOINT:
    value: ""
    description: the LoRA, a path on the GPU runner
""",
    "          CHECKPOINT: ${{ inputs.checkpoint }}\n",
    '          cp "$CHECKPOINT" release/lora.safetensors\n',
    '    - cp "$CHECKPOINT" release/lora.safetensors\n',
)
#: What they say of it once, and of a pair.
_OF_ALL: Final = (
    ('--lora "$CHECKPOINT"', '--lora "high=$HIGH,low=$LOW"'),
    (
        "release/lora.safetensors",
        "high=release/high_noise.safetensors,low=release/low_noise.safetensors",
    ),
    ("if: $CHECKPOINT", "if: $HIGH && $LOW"),
    ("fill in CHECKPOINT", "fill in HIGH and LOW"),
    ("# Gate a LoRA on", "# Gate a pair of LoRAs on"),
)


def compose(kind: str, suite: Suite) -> str:
    """Write a CI file's text, with a gate and a publish job.

    Args:
        kind: Of `PATHS`.
        suite: The publish job demands its name and limits of the receipt; a later change of the suite does
            not change them.
    """
    text = (_TEMPLATES / f"{kind}.yaml").read_text(encoding="utf-8")
    if suite.model.experts is not None:
        text = _for_a_pair(text)
    demands = [f"--suite {shlex.quote(suite.name)}", "--max-runs 3"]
    if bounds := " ".join(shlex.quote(bound) for bound in _bounds(suite.limits)):
        demands.insert(0, f"--require {bounds}")
    return text.replace("DEMANDS", " ".join(demands))


def _for_a_pair(text: str) -> str:
    """The same jobs for two LoRAs: each is asked for, copied and verified as one half of a pair."""
    for block in _OF_EACH:
        halves = [
            block.replace("CHECKPOINT", name.upper())
            .replace("checkpoint", name)
            .replace("the LoRA", f"the {name}-noise LoRA")
            .replace("lora.safetensors", f"{name}_noise.safetensors")
            for name in EXPERTS
        ]
        text = text.replace(block, "".join(halves))
    for one, pair in _OF_ALL:
        text = text.replace(one, pair)
    return text


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
