"""What is known of a LoRA file once it was read."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_wanlora.checkpoint.formats import wan_layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One layer that the LoRA changes.

    Attributes:
        name: In the model's own names: ``blocks.0.self_attn.q``.
        rank: From 1.
        in_features: Columns of A.
        out_features: Rows of B.
        alpha: The update is alpha / rank * B @ A; None: the file tells none, which all formats that
            leave it out mean as rank.
        down_key: Key of A in the file.
        up_key: Key of B in the file.
        alpha_key: Key of alpha in the file, None when it came from elsewhere or nowhere.
    """

    name: str
    rank: int
    in_features: int
    out_features: int
    alpha: float | None
    down_key: str
    up_key: str
    alpha_key: str | None = None

    @property
    def scale(self) -> float:
        """What B @ A is multiplied by: alpha / rank, 1 when there is no alpha."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a file that can be read may still not be published.

    Attributes:
        code: ``nan``, ``inf``, ``zero_b`` (the whole LoRA changes nothing) or ``zero_some`` (some of
            its targets change nothing).
        words: One sentence with the number of targets and the first of them.
        targets: Names of those concerned.
    """

    code: str
    words: str
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A LoRA file that was read and understood.

    Attributes:
        path: As given.
        name: File name without suffix.
        sha256: Of the file.
        size: Bytes.
        format: As in ``formats.Layout``.
        dtype: torch's names of the tensors' types, joined by ``+`` when there are several.
        targets: Sorted by block number, then name; at least one.
        alpha_source: ``file`` (tensors), ``adapter_config.json``, ``lora_adapter_metadata``, or
            ``none``: alpha is the rank.
        metadata: Of the header.
        norms: Target name -> Frobenius norm of alpha / rank * B @ A; NaN where the weights are not
            finite.
        zero_targets: Names of targets whose update is exactly zero.
        problems: What makes it unfit although it can be read; empty for a healthy file.
    """

    path: Path
    name: str
    sha256: str
    size: int
    format: str
    dtype: str
    targets: tuple[Target, ...]
    alpha_source: str
    metadata: Mapping[str, str] = field(hash=False)
    norms: Mapping[str, float] = field(hash=False)
    zero_targets: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def identity(self) -> str:
        """Digest of everything that this LoRA does to a model; use it in job keys.

        The file's SHA-256, unless alpha lies in another file: then a digest of both, so that an
        edited ``adapter_config.json`` is another LoRA.
        """
        if self.alpha_source != "adapter_config.json":
            return self.sha256
        alphas = [[target.name, target.alpha] for target in self.targets]
        return hashlib.sha256(json.dumps([self.sha256, alphas]).encode()).hexdigest()

    @property
    def ranks(self) -> tuple[int, ...]:
        """The different ranks, ascending."""
        return tuple(sorted({target.rank for target in self.targets}))

    @property
    def rank(self) -> int:
        """The largest rank."""
        return self.ranks[-1]

    @property
    def dim(self) -> int | None:
        """Width of the model (5120 for the 14B models, 3072 for TI2V-5B); None if no target tells."""
        return self._width("dim")

    @property
    def ffn_dim(self) -> int | None:
        """Width within the feed-forward layers; None when they are no targets."""
        return self._width("ffn_dim")

    @property
    def text_dim(self) -> int | None:
        """Width of the text encoder's output; known only when ``text_embedding.0`` is a target."""
        return self._width("text_dim")

    @property
    def blocks(self) -> int:
        """Highest block number plus one: the model has at least so many. 0 without any block."""
        return max(self._blocks_seen(), default=-1) + 1

    @property
    def block_count(self) -> int:
        """How many different blocks have a target."""
        return len(self._blocks_seen())

    def describe(self) -> dict[str, Any]:
        """The checkpoint card: plain values for JSON, reports and ``inspect``.

        Norms that are not finite are None; metadata values are cut to 200 characters.
        """
        kinds = Counter((wan_layer(target.name) or (None, target.name))[1] for target in self.targets)
        finite = {name: norm for name, norm in self.norms.items() if math.isfinite(norm)}
        total = math.hypot(*finite.values()) if len(finite) == len(self.norms) else None
        strongest = max(finite, key=finite.__getitem__, default=None)
        return {
            "name": self.name,
            "file": self.path.name,
            "sha256": self.sha256,
            "identity": self.identity,
            "size": self.size,
            "format": self.format,
            "dtype": self.dtype,
            "rank": self.rank,
            "ranks": list(self.ranks),
            "alphas": sorted({target.alpha for target in self.targets if target.alpha is not None}),
            "alpha_source": self.alpha_source,
            "targets": len(self.targets),
            "layers": dict(sorted(kinds.items())),
            "blocks": self.blocks,
            "block_count": self.block_count,
            "dim": self.dim,
            "ffn_dim": self.ffn_dim,
            "text_dim": self.text_dim,
            "parameters": sum(t.rank * (t.in_features + t.out_features) for t in self.targets),
            "norm": total,
            "strongest": None if strongest is None else {"target": strongest, "norm": finite[strongest]},
            "zero_targets": list(self.zero_targets),
            "problems": [{"code": problem.code, "words": problem.words} for problem in self.problems],
            "metadata": {
                key: value if len(value) <= 200 else f"{value[:200]}…"
                for key, value in sorted(self.metadata.items())
            },
        }

    def _width(self, what: str) -> int | None:
        return next((value for _, name, value in widths(self.targets) if name == what), None)

    def _blocks_seen(self) -> set[int]:
        layers = (wan_layer(target.name) for target in self.targets)
        return {layer[0] for layer in layers if layer is not None and layer[0] is not None}


def widths(targets: tuple[Target, ...]) -> tuple[tuple[Target, str, int], ...]:
    """What each target says about the model's widths.

    Args:
        targets: Of one LoRA.

    Returns:
        (target, ``dim`` | ``ffn_dim`` | ``text_dim``, value), by the definition of the Wan video
        transformer: attention is dim x dim also across (the text is embedded to dim before), ffn.0 goes
        from dim to ffn_dim and ffn.2 back.
    """
    found = []
    for target in targets:
        layer = wan_layer(target.name)
        if layer is None:
            continue
        _, kind = layer
        entry, leave = _WIDTHS.get(kind.partition(".")[0] if "_attn." in kind else kind, (None, None))
        if entry is not None:
            found.append((target, entry, target.in_features))
        if leave is not None:
            found.append((target, leave, target.out_features))
    return tuple(found)


def verify_against(checkpoint: Checkpoint, dit_shapes: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Compare a LoRA's targets with the layers of a loaded model.

    Args:
        checkpoint: The LoRA.
        dit_shapes: Layer name -> shape of its weight, (out_features, in_features), for every linear
            layer of the model: ``{"blocks.0.self_attn.q": (3072, 3072), ...}``.

    Returns:
        One line for each target that the model does not have or has in another shape, beginning with
        the target's name; empty when all fit.
    """
    lies = []
    for target in checkpoint.targets:
        have = dit_shapes.get(target.name)
        want = (target.out_features, target.in_features)
        if have is None:
            lies.append(f"{target.name}: the model has no such layer")
        elif tuple(have) != want:
            lies.append(
                f"{target.name}: the LoRA is for {want[0]}x{want[1]} (out x in), the model's layer is "
                f"{have[0]}x{have[1]}"
            )
    return tuple(lies)


_WIDTHS: Mapping[str, tuple[str | None, str | None]] = {
    "self_attn": ("dim", "dim"),
    "cross_attn": ("dim", "dim"),
    "ffn.0": ("dim", "ffn_dim"),
    "ffn.2": ("ffn_dim", "dim"),
    "text_embedding.0": ("text_dim", "dim"),
    "text_embedding.2": ("dim", "dim"),
    "time_embedding.0": (None, "dim"),
    "time_embedding.2": ("dim", "dim"),
    "time_projection.1": ("dim", None),
    "head.head": ("dim", None),
    "img_emb.proj.3": (None, "dim"),
}
