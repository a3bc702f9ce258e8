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

from pytest_wanlora.checkpoint.formats import Kind
from pytest_wanlora.checkpoint.names import wan_layer
from pytest_wanlora.checkpoint.paths import argument
from pytest_wanlora.checkpoint.reads_in import readings
from pytest_wanlora.files import json_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One weight that the LoRA changes.

    Attributes:
        name: The layer in the model's own names, `blocks.0.self_attn.q`; with `.bias` for its bias.
        kind: How the update is made: `lora`, `lokr`, `loha` or `diff`, the difference itself.
        shape: Of the update: (out, in), or a difference's own.
        rank: What alpha is divided by; 0 for what takes no alpha.
        alpha: The update is alpha / rank * B @ A; None: the file tells none, which all formats that
            leave it out mean as rank.
        keys: Part to its key in the file; see `formats.Group`.
        alpha_key: Key of alpha in the file, None when it came from elsewhere or nowhere.
    """

    name: str
    kind: Kind = "lora"
    shape: tuple[int, ...]
    rank: int
    alpha: float | None
    keys: Mapping[str, str] = field(hash=False)
    alpha_key: str | None = None

    @property
    def scale(self) -> float:
        """What the update is multiplied by: alpha / rank, 1 when there is no alpha or no rank."""
        return 1.0 if self.alpha is None or not self.rank else self.alpha / self.rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a file that can be read may still not be published, or what to know before it is.

    Attributes:
        code: ``nan``, ``inf``, ``zero_b`` (the whole LoRA changes nothing); of warnings ``zero_some`` (some
            of its targets change nothing), ``alpha_some`` (alpha is missing on some targets) or
            ``alpha_header`` (only the header tells alpha).
        words: One sentence with the number of targets and the first of them.
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
        parameters: Numbers that its targets are made of.
        targets: Sorted by block number, then name; at least one.
        alpha_source: ``file`` (tensors), ``adapter_config.json``, ``lora_adapter_metadata``, or
            ``none``: alpha is the rank.
        metadata: Of the header.
        norms: Target name -> Frobenius norm of alpha / rank * B @ A; NaN where the weights are not
            finite.
        zero_targets: Names of targets that change nothing: the update is zero, or below what its type holds.
        problems: What makes it unfit although it can be read; empty for a healthy file.
        warnings: What does not make it unfit, but may explain what it does.
        hints: What is unusual in its numbers, and no more than that.
        zero_differences: How many differences are zero and were left out.
        keys: Of the file, in its order.
        experts: Of a pair, the LoRA of each expert that has one, by the expert's name; the other attributes
            are then those of both together (`experts.pair`). Empty for the LoRA of a single denoiser.
        strengths: Of a pair, the factor on each expert's LoRA.
    """

    path: Path
    name: str
    sha256: str
    size: int
    format: str
    dtype: str
    parameters: int
    targets: tuple[Target, ...]
    alpha_source: str
    metadata: Mapping[str, str] = field(hash=False)
    norms: Mapping[str, float] = field(hash=False)
    zero_targets: tuple[str, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    hints: tuple[Problem, ...] = ()
    zero_differences: int = 0
    keys: tuple[str, ...] = field(default=(), repr=False)
    experts: Mapping[str, Checkpoint] = field(default_factory=dict, hash=False)
    strengths: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> str:
        """Digest of everything that this LoRA does to a model; use it in job keys.

        The file's SHA-256, unless alpha lies in another file: then a digest of both, so that an
        edited ``adapter_config.json`` is another LoRA.
        """
        if self.experts:
            does = {name: [each.identity, self.strengths[name]] for name, each in self.experts.items()}
            return json_sha256(does)
        if self.alpha_source != "adapter_config.json":
            return self.sha256
        alphas = [[target.name, target.alpha] for target in self.targets]
        return hashlib.sha256(json.dumps([self.sha256, alphas]).encode()).hexdigest()

    @property
    def weights(self) -> object:
        """Equal for LoRAs of equal weights, also of a copy with another header or in another format.

        The norms of layers of two trainings are never all equal to the last bit; of weights that are broken
        or zero they say nothing.
        """
        return self.identity if self.problems else tuple(sorted(self.norms.items()))

    @property
    def argument(self) -> str:
        """What to give ``--lora`` to get it again."""
        return argument(self.path, {name: each.path for name, each in self.experts.items()}, self.strengths)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The different ranks, ascending."""
        return tuple(sorted({target.rank for target in self.targets if target.rank}))

    @property
    def rank(self) -> int:
        """The largest rank; 0 for a file of differences alone."""
        return max(self.ranks, default=0)

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
        kinds = Counter(_layer(target.name) for target in self.targets)
        finite = {name: norm for name, norm in self.norms.items() if math.isfinite(norm)}
        total = math.hypot(*finite.values()) if len(finite) == len(self.norms) else None
        strongest = max(finite, key=finite.__getitem__, default=None)
        return {
            **({"experts": self._halves()} if self.experts else {}),
            "name": self.name,
            "file": self.path.name if not self.experts else self._files(),
            "sha256": self.sha256,
            "identity": self.identity,
            "size": self.size,
            "format": self.format,
            "dtype": self.dtype,
            "rank": self.rank,
            "ranks": list(self.ranks),
            "alphas": sorted({t.alpha for t in self.targets if t.rank and t.alpha is not None}),
            "alpha_source": self.alpha_source,
            "alpha_targets": sum(bool(t.rank) and t.alpha is not None for t in self.targets),
            "ranked_targets": sum(bool(target.rank) for target in self.targets),
            "kinds": dict(sorted(Counter(target.kind for target in self.targets).items())),
            "targets": len(self.targets),
            "layers": dict(sorted(kinds.items())),
            "blocks": self.blocks,
            "block_count": self.block_count,
            "dim": self.dim,
            "ffn_dim": self.ffn_dim,
            "text_dim": self.text_dim,
            "parameters": self.parameters,
            "norm": total,
            "strongest": None if strongest is None else {"target": strongest, "norm": finite[strongest]},
            "zero_targets": list(self.zero_targets),
            "problems": [{"code": problem.code, "words": problem.words} for problem in self.problems],
            "warnings": [{"code": warning.code, "words": warning.words} for warning in self.warnings],
            "hints": [{"code": hint.code, "words": hint.words} for hint in self.hints],
            "reads_in": [reading.card() for reading in readings(self)],
            "metadata": {
                key: value if len(value) <= 200 else f"{value[:200]}…"
                for key, value in sorted(self.metadata.items())
            },
        }

    def _files(self) -> str:
        files = dict.fromkeys(each.path.name for each in self.experts.values())
        return next(iter(files)) if len(files) == 1 else ", ".join(files)

    def _halves(self) -> dict[str, Any]:
        kept = ("file", "sha256", "identity", "size", "format", "rank", "targets", "norm")
        sizes = ("dim", "ffn_dim", "blocks")
        found = {}
        for name, each in self.experts.items():
            card = each.describe()
            found[name] = {"strength": self.strengths[name], **{key: card[key] for key in (*kept, *sizes)}}
        return found

    def _width(self, what: str) -> int | None:
        return next((value for _, name, value in widths(self.targets) if name == what), None)

    def _blocks_seen(self) -> set[int]:
        layers = (wan_layer(target.name) for target in self.targets)
        return {layer[0] for layer in layers if layer is not None and layer[0] is not None}


def widths(targets: tuple[Target, ...]) -> tuple[tuple[Target, str, int], ...]:
    """What each target says about the model's widths.

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
        shape = target.shape
        if kind == "time_projection.1" and shape[0] % 6 == 0:
            found.append((target, "dim", shape[0] // 6))
        if entry is not None and len(shape) > 1:
            found.append((target, entry, shape[-1]))
        if leave is not None:
            found.append((target, leave, shape[0]))
    return tuple(found)


def verify_against(checkpoint: Checkpoint, dit_shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Compare a LoRA's targets with the layers of a loaded model.

    Args:
        dit_shapes: Name of a target -> shape of what it changes: ``{"blocks.0.self_attn.q": (3072, 3072),
            "blocks.0.self_attn.q.bias": (3072,), ...}``, for every weight of the model.

    Returns:
        One line for each target that the model does not have or has in another shape, beginning with
        the target's name; empty when all fit.
    """
    lies = []
    for target in checkpoint.targets:
        have = dit_shapes.get(target.name)
        if have is None:
            lies.append(f"{target.name}: the model has no such layer")
        elif tuple(have) != target.shape:
            lies.append(
                f"{target.name}: the LoRA is for {_by(target.shape)} (out x in), "
                f"the model's layer is {_by(have)}"
            )
    return tuple(lies)


def _layer(name: str) -> str:
    layer = (wan_layer(name) or (None, name))[1]
    return f"{layer}.bias" if name.endswith(".bias") else layer


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


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
    "patch_embedding": (None, "dim"),
    "norm3": (None, "dim"),
    "modulation": ("dim", None),
    "head.modulation": ("dim", None),
}
