"""The health of a LoRA's numbers: what is wrong with them, and what to know of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.checkpoint import kinds
from pytest_wanlora.checkpoint.container import Container, Tensor
from pytest_wanlora.checkpoint.record import Problem, Target

# LoHa's product has the size of the layer: so many numbers of it at a time
_CHUNK: Final = 2**22
# smallest number above 0 of the type in which programs multiply; 8 bits are for storage, bfloat16 multiplies
_SMALLEST: Final[Mapping[str, float]] = {
    "F64": 5e-324,
    "F32": 2.0**-149,
    "F16": 2.0**-24,
    "BF16": 2.0**-133,
    "F8_E4M3": 2.0**-133,
    "F8_E5M2": 2.0**-133,
}


def norm(target: Target, parts: Mapping[str, Tensor]) -> float:
    """Frobenius norm of a target's update, in float64.

    Args:
        target: Its kind and scale.
        parts: Its tensors.

    Returns:
        NaN or infinite if its weights are; infinite beyond float32.
    """
    values = {part: tensor.float64() for part, tensor in parts.items()}
    if any(np.isnan(each).any() for each in values.values()):
        return math.nan
    if any(np.isinf(each).any() for each in values.values()):
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        squared = _squared(target, values)
        found = target.scale * math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else math.inf
    return found if found <= np.finfo(np.float32).max else math.inf


def _squared(target: Target, values: Mapping[str, NDArray[np.float64]]) -> float:
    if target.kind == "lora":
        up, down = values["lora_B"], values["lora_A"]
        # ||B A||_F^2 = tr(A^T B^T B A) = sum((B^T B) * (A A^T)), two rank x rank matrices
        return float(np.sum((up.T @ up) * (down @ down.T)))
    if target.kind == "lokr":
        # the norm of a Kronecker product is the product of the norms
        return math.prod(float(np.sum(each**2)) for each in kinds.kronecker_factors(values))
    return math.fsum(float(np.sum(each**2)) for each in _updates(target, values))


def _updates(target: Target, values: Mapping[str, NDArray[np.float64]]) -> Iterable[NDArray[np.float64]]:
    """The update without its scale, some rows at a time where it is a product of the layer's size."""
    if target.kind not in ("lora", "loha"):
        yield kinds.update(target.kind, values)
        return
    by_row = ("lora_B", "hada_w1_a", "hada_w2_a")
    step = max(1, _CHUNK // target.shape[1])
    for start in range(0, target.shape[0], step):
        own = {part: each[start : start + step] if part in by_row else each for part, each in values.items()}
        yield kinds.update(target.kind, own)


def without_effect(container: Container, data: memoryview, target: Target, found: float) -> bool:
    """Whether a target of that norm changes nothing: its update is zero, or below what its type holds."""
    if not math.isfinite(found) or found == 0.0:
        return found == 0.0
    smallest = max(_SMALLEST[container.entries[key].dtype] for key in target.keys.values())
    # the largest number is between these two; only where they leave it open the update is computed
    if found > smallest * math.sqrt(math.prod(target.shape)):
        return False
    values = {part: container.tensor(key, data).float64() for part, key in target.keys.items()}
    largest = max(float(np.abs(each).max()) for each in _updates(target, values))
    return target.scale * largest <= smallest / 2


def problems(norms: Mapping[str, float], zero: tuple[str, ...]) -> tuple[Problem, ...]:
    """What makes a file unfit.

    Args:
        norms: Of all targets.
        zero: Names of those that change nothing.
    """
    total = len(norms)
    nan = [name for name, each in norms.items() if math.isnan(each)]
    inf = [name for name, each in norms.items() if math.isinf(each)]
    found = []
    if nan:
        found.append(_problem("nan", nan, total, "have weights that are NaN: the training diverged"))
    if inf:
        found.append(_problem("inf", inf, total, "have infinite weights or an update beyond float32"))
    if len(zero) == total:
        found.append(_problem("zero_b", zero, total, "change nothing (B @ A is zero): it was not trained"))
    return tuple(found)


def warnings(
    targets: tuple[Target, ...], zero: tuple[str, ...], metadata: Mapping[str, str], *, underscored: bool
) -> tuple[Problem, ...]:
    """What to know of a file that may be fit.

    Args:
        targets: All of them.
        zero: Names of those that change nothing.
        metadata: Of the header.
        underscored: Whether layers are named as kohya's scripts do, which always write alpha.
    """
    found = []
    if 0 < len(zero) < len(targets):
        words = "change nothing (their update is zero, or below what their type holds)"
        found.append(_problem("zero_some", zero, len(targets), words))
    ranked = [target for target in targets if target.rank]
    bare = [target for target in ranked if target.alpha is None]
    if bare and len(bare) < len(ranked) and len({target.scale for target in ranked}) > 1:
        words = f"{shown_alphas(ranked)}; what lacks alpha is applied at 1, the others at "
        words += ", ".join(f"{scale:g}" for scale in sorted({t.scale for t in ranked if t.alpha is not None}))
        names = tuple(target.name for target in bare)
        found.append(
            Problem(code="alpha_some", words=f"{words}; the first without is {names[0]}", targets=names)
        )
    if underscored and bare and len(bare) == len(ranked):
        found += _alpha_of_header(bare, metadata)
    return tuple(found)


def shown_alphas(targets: Iterable[Target]) -> str:
    """`alpha 2 on 70 of 80 targets, none on 10`."""
    counted = Counter(target.alpha for target in targets if target.rank)
    total = sum(counted.values())
    known = sorted((alpha, count) for alpha, count in counted.items() if alpha is not None)
    shown = ", ".join(f"alpha {alpha:g} on {count} of {total} targets" for alpha, count in known)
    return f"{shown}, none on {counted[None]}" if counted[None] else shown


def _alpha_of_header(targets: list[Target], metadata: Mapping[str, str]) -> Iterable[Problem]:
    alpha, dim = (_number(metadata.get(key)) for key in ("ss_network_alpha", "ss_network_dim"))
    if alpha is None or alpha <= 0:
        return
    ranks = {target.rank for target in targets}
    if all(alpha == rank for rank in ranks):
        return
    stated = f"alpha {alpha:g}" + ("" if dim is None else f" / dim {dim:g}")
    factor = max(ranks) / alpha
    words = (
        f"the header says {stated}, the file has no alpha: applied at 1, {factor:g} times what the header "
        "means (was alpha removed when it was converted?)"
    )
    yield Problem(code="alpha_header", words=words, targets=tuple(target.name for target in targets))


def _number(text: Any) -> float | None:  # noqa: ANN401 - a header may hold anything
    try:
        found = float(text)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _problem(code: str, names: Iterable[str], total: int, words: str) -> Problem:
    names = tuple(names)
    sentence = f"{len(names)} of {total} targets {words}; the first is {names[0]}"
    return Problem(code=code, words=sentence, targets=names)
