"""PEFT's LoraConfig, which holds the alpha that PEFT does not write among the tensors.

Two places keep one: ``adapter_config.json`` beside a PEFT file, and ``lora_adapter_metadata`` in the
header of a diffusers file.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import listing, read_regular

_Number = TypeVar("_Number", int, float)

CONFIG_NAME = "adapter_config.json"
METADATA_KEY = "lora_adapter_metadata"

# With any of these set the tensors are no plain LoRA, or not all of it.
_MUST_BE_OFF = (
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "lora_ga_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)
# The other initialisations (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base weights as well, so
# that the saved LoRA does not belong to the published base model.
_PLAIN_INITIALISATIONS = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """The fields of a LoraConfig that set the strength of the LoRA.

    Attributes:
        rank: ``r``.
        alpha: ``lora_alpha``.
        rank_pattern: Module name or regular expression -> rank.
        rank_stabilised: ``use_rslora``: the scale is alpha / sqrt(rank).
    """

    source: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool

    def alpha_for(self, module: str, rank: int) -> float:
        """Alpha such that the LoRA's scale is alpha / rank.

        Args:
            module: As the config's model calls it, ``blocks.0.attn1.to_q``.
            rank: Of the module's tensors.

        Returns:
            ``lora_alpha`` or the pattern's; times sqrt(rank) when rank-stabilised
            (Kalajdzievski 2023: scale = alpha / sqrt(rank)).

        Raises:
            CheckpointError: The tensors have another rank than the config says, so the config is
                of another file.
        """
        expected = _match(self.rank_pattern, module, self.rank, self.source)
        if expected != rank:
            raise CheckpointError(
                f"{self.source}: rank of {module!r} is {expected}, the tensors have {rank}; "
                "the config belongs to another LoRA; allowed: the one that was saved with the file",
                next_command=f"cat {shlex.quote(self.source)}"
                if self.source.endswith(CONFIG_NAME)
                else "save the LoRA again with its config",
            )
        alpha = _match(self.alpha_pattern, module, self.alpha, self.source)
        return alpha * math.sqrt(rank) if self.rank_stabilised else alpha


def read_beside(path: Path) -> AdapterConfig | None:
    """Read ``adapter_config.json`` in the folder of a LoRA file; None when there is none.

    Raises:
        CheckpointError: It cannot be read, is malformed, or describes more than a plain LoRA.
    """
    file = path.parent / CONFIG_NAME
    try:
        text = read_regular(file).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file}: cannot be read: {error}; allowed: as it lies where the LoRA was trained",
            next_command=listing(file),
        ) from error
    return _config(_parse(text, str(file)), str(file), required=True)


def from_metadata(path: Path, metadata: Mapping[str, str]) -> AdapterConfig | None:
    """Read the config that diffusers keeps in the header.

    Args:
        metadata: The header's metadata. Keys within may bear the prefix ``transformer.``, as
            pipelines write them, or none, as models do.

    Returns:
        The config, None when there is none for the video model.

    Raises:
        CheckpointError: It is malformed or describes more than a plain LoRA.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    source = f"{path}: {METADATA_KEY}"
    raw = _parse(text, source)
    prefix = "transformer."
    inner = {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}
    return _config(inner or raw, source, required=False)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{source}: is not JSON: {error}", next_command="save the LoRA again with its config"
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError(
            f"{source}: holds a {type(raw).__name__}, allowed is an object with r and lora_alpha",
            next_command="save the LoRA again with its config",
        )
    return raw


def _config(raw: Mapping[str, Any], source: str, *, required: bool) -> AdapterConfig | None:
    if not required and "r" not in raw and "lora_alpha" not in raw:
        return None
    kind = raw.get("peft_type", "LORA")
    if kind != "LORA":
        raise _refused(source, "peft_type", kind, "LORA")
    for key in _MUST_BE_OFF:
        if raw.get(key):
            raise _refused(source, key, raw[key], "none")
    if raw.get("bias", "none") != "none":
        raise _refused(source, "bias", raw["bias"], "'none'")
    start = raw.get("init_lora_weights")
    if not (start is None or isinstance(start, bool) or start in _PLAIN_INITIALISATIONS):
        allowed = f"true, false, {', '.join(_PLAIN_INITIALISATIONS)} (those leave the base weights alone)"
        raise _refused(source, "init_lora_weights", start, allowed)
    stabilised = raw.get("use_rslora", False)
    if not isinstance(stabilised, bool):
        raise _refused(source, "use_rslora", stabilised, "true or false")
    return AdapterConfig(
        source=source,
        rank=_rank(source, "r", raw.get("r")),
        alpha=_alpha(source, "lora_alpha", raw.get("lora_alpha")),
        rank_pattern={key: _rank(source, key, value) for key, value in _items(source, raw, "rank_pattern")},
        alpha_pattern={
            key: _alpha(source, key, value) for key, value in _items(source, raw, "alpha_pattern")
        },
        rank_stabilised=stabilised,
    )


def _items(source: str, raw: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    pattern = raw.get(name) or {}
    if not isinstance(pattern, dict):
        raise _refused(source, name, pattern, "an object of module names")
    return pattern.items()


def _rank(source: str, key: str, value: Any) -> int:  # noqa: ANN401 - straight from JSON
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refused(source, key, value, "a whole number from 1")
    return value


def _alpha(source: str, key: str, value: Any) -> float:  # noqa: ANN401 - straight from JSON
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise _refused(source, key, value, "a number above 0")
    return float(value)


def _match(patterns: Mapping[str, _Number], module: str, default: _Number, source: str) -> _Number:
    # PEFT's own rule (peft.utils.get_pattern_key): the first pattern that ends the module's name
    for pattern, value in patterns.items():
        try:
            found = re.fullmatch(rf"(.*\.)?({pattern})", module)
        except re.error as error:
            raise _refused(source, "pattern", pattern, f"a regular expression ({error})") from error
        if found:
            return value
    return default


def _refused(source: str, key: str, value: object, allowed: str) -> CheckpointError:
    shown = repr(value)
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    return CheckpointError(
        f"{source}: {key} is {shown}, allowed is {allowed}",
        next_command="train or export a plain LoRA (lora_A and lora_B per layer)",
    )
