"""The health of a LoRA's numbers: what is wrong with them, and what to know of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.checkpoint import kinds
from pytest_wanlora.checkpoint.container import Container, Tensor
from pytest_wanlora.checkpoint.names import wan_layer
from pytest_wanlora.checkpoint.record import Problem, Target
from pytest_wanlora.phrases import number_of

# LoHa's product has the size of the layer: so many numbers of it at a time
_CHUNK: Final = 2**22
_ITERATIONS: Final = 20
# of hints: see `hints`
_FAR: Final = 4
_ONE_DIRECTION: Final = 0.95
_RANKS: Final = 4
_DEAD: Final = 0.01
_ENOUGH: Final = 4
# smallest number above 0 of the type in which programs multiply; 8 bits are for storage, bfloat16 multiplies
_SMALLEST: Final[Mapping[str, float]] = {
    "F64": 5e-324,
    "F32": 2.0**-149,
    "F16": 2.0**-24,
    "BF16": 2.0**-133,
    "F8_E4M3": 2.0**-133,
    "F8_E5M2": 2.0**-133,
}
# relative rounding of float32, the finest type in which programs multiply and add
_ROUNDING: Final = 2.0**-24


class Measured(NamedTuple):
    """Of a target's update.

    Attributes:
        norm: Frobenius norm; NaN or infinite if its weights are, infinite beyond float32.
        concentration: Share of the squared norm in its strongest direction, for a LoRA; else 0.
    """

    norm: float
    concentration: float = 0.0


def measure(target: Target, parts: Mapping[str, Tensor]) -> Measured:
    """Measure a target's update, in float64."""
    values = {part: tensor.float64() for part, tensor in parts.items()}
    if any(np.isnan(each).any() for each in values.values()):
        return Measured(math.nan)
    if any(np.isinf(each).any() for each in values.values()):
        return Measured(math.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        squared, largest = _squared(target, values)
        found = target.scale * math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else math.inf
    if found > np.finfo(np.float32).max:
        return Measured(math.inf)
    return Measured(found, largest / squared if squared > 0.0 else 0.0)


def _squared(target: Target, values: Mapping[str, NDArray[np.float64]]) -> tuple[float, float]:
    """The squared norm, and the part of it in the strongest direction."""
    if target.kind == "lora":
        up, down = values["lora_B"], values["lora_A"]
        # ||B A||_F^2 = tr(A^T B^T B A) = sum((B^T B) * (A A^T)), two rank x rank matrices
        left, right = up.T @ up, down @ down.T
        return float(np.sum(left * right)), _largest(left, right)
    if target.kind == "lokr":
        # the norm of a Kronecker product is the product of the norms
        return math.prod(float(np.sum(each**2)) for each in kinds.kronecker_factors(values)), 0.0
    return math.fsum(float(np.sum(each**2)) for each in _updates(target, values)), 0.0


def _largest(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The largest squared singular value of B A: the largest eigenvalue of B^T B A A^T, by iteration.

    It is exact where it matters, for an update of nearly one direction; elsewhere too small.
    """
    vector = left[:, int(np.argmax(np.diagonal(left) * np.diagonal(right)))]
    found = 0.0
    for _ in range(_ITERATIONS):
        size = float(np.linalg.norm(vector))
        if not (math.isfinite(size) and size > 0.0):
            return 0.0
        vector = left @ (right @ (vector / size))
        found = float(np.linalg.norm(vector))
    return found


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
    """Whether a target of that norm changes nothing that a program could carry.

    Its update is zero; or below what its type holds; or so small that float32 rounds it away beside weights
    of the usual size, 1 / sqrt(in); or what is left of products that cancel, which is their rounding.
    """
    if not math.isfinite(found) or found == 0.0:
        return found == 0.0
    size = math.sqrt(math.prod(target.shape))
    if found <= _ROUNDING * size / math.sqrt(target.shape[-1]):
        return True
    values = {part: container.tensor(key, data).float64() for part, key in target.keys.items()}
    sums = max(1, sum(each.shape[0] for part, each in values.items() if part in _SUMMED))
    products = math.prod(float(np.linalg.norm(each)) for each in values.values())
    # the norms of the parts are a bound on the sizes of the products; few targets come near it
    if found <= _left_over(sums) * target.scale * products:
        sizes = {part: np.abs(each) for part, each in values.items()}
        if found <= _left_over(sums) * target.scale * math.sqrt(_squared(target, sizes)[0]):
            return True
    smallest = max(_SMALLEST[container.entries[key].dtype] for key in target.keys.values())
    # the largest number is between these two; only where they leave it open the update is computed
    if found > smallest * size:
        return False
    largest = max(float(np.abs(each).max()) for each in _updates(target, values))
    return target.scale * largest <= smallest / 2


# the parts over whose rows a product sums
_SUMMED: Final = frozenset({"lora_A", "hada_w1_b", "hada_w2_b", "lokr_w1_b", "lokr_w2_b"})


def _left_over(sums: int) -> float:
    """What rounding may leave of a sum of so many products, relative to the sum of their sizes."""
    return 2 * sums * _ROUNDING


def problems(norms: Mapping[str, float], zero: tuple[str, ...]) -> tuple[Problem, ...]:
    """What makes a file unfit."""
    total = len(norms)
    nan = [name for name, each in norms.items() if math.isnan(each)]
    inf = [name for name, each in norms.items() if math.isinf(each)]
    found = []
    if nan:
        found.append(_problem("nan", nan, total, "have weights that are NaN: the training diverged"))
    if inf:
        found.append(_problem("inf", inf, total, "have infinite weights or an update beyond float32"))
    if len(zero) == total:
        found.append(
            _problem(
                "zero_b",
                zero,
                total,
                "change nothing (B @ A is zero), or too little for any type: it was not trained",
            )
        )
    return tuple(found)


def warnings(
    targets: tuple[Target, ...], zero: tuple[str, ...], metadata: Mapping[str, str], *, underscored: bool
) -> tuple[Problem, ...]:
    """What to know of a file that may be fit.

    Args:
        zero: Names of those that change nothing.
        underscored: Whether layers are named as kohya's scripts do, which always write alpha.
    """
    found = []
    if 0 < len(zero) < len(targets):
        words = "change nothing (their update is zero, or below what their type can carry)"
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


def hints(targets: tuple[Target, ...], measured: Mapping[str, Measured]) -> tuple[Problem, ...]:
    """What is unusual in the numbers; never a reason to refuse a file.

    The example LoRAs of the embedded model lie far within the thresholds: norms are 0.63 to 2.4 times the
    median of their kind of layer, 15 to 63 % of an update is in one direction, and blocks have 0.90 to 1.5
    times the median norm (measured on the three files that `examples` writes).
    """
    found = []
    by_kind: dict[str, dict[str, float]] = {}
    by_block: dict[int, float] = {}
    for target in targets:
        block, layer = wan_layer(target.name) or (None, target.name)
        own = measured[target.name].norm
        if block is not None and math.isfinite(own):
            by_kind.setdefault(f"{layer} {target.kind}", {})[target.name] = own
            by_block[block] = math.hypot(by_block.get(block, 0.0), own)
    times = {name: ratio for norms in by_kind.values() for name, ratio in _ratios(norms)}
    far = {name: ratio for name, ratio in times.items() if ratio > _FAR or 0.0 < ratio < 1 / _FAR}
    if far:
        words = f"are over {_FAR} times as strong as the median of such layers, or under a quarter of it"
        found.append(
            _problem("outlier", far, len(targets), words, f" at {next(iter(far.values())):.2g} times")
        )
    single = [t.name for t in targets if t.rank >= _RANKS and measured[t.name].concentration > _ONE_DIRECTION]
    if single:
        words = f"have over {_ONE_DIRECTION:.0%} of their update in one of {_RANKS} or more directions"
        found.append(_problem("one_direction", single, len(targets), words))
    dead = [str(block) for block, ratio in _ratios(by_block) if ratio < _DEAD]
    if dead:
        words = f"{len(dead)} of {number_of(len(by_block), 'block')} have under {_DEAD:.0%} of the median "
        words += f"block's norm; the first is block {dead[0]}"
        found.append(Problem(code="dead_block", words=words, targets=tuple(dead)))
    return tuple(found)


_Key = TypeVar("_Key")


def _ratios(norms: Mapping[_Key, float]) -> Iterable[tuple[_Key, float]]:
    """Norms as multiples of their median, where there are enough for one."""
    middle = median(norms.values()) if len(norms) >= _ENOUGH else 0.0
    return [(name, each / middle) for name, each in norms.items()] if middle > 0.0 else []


def shown_alphas(targets: Iterable[Target]) -> str:
    """`alpha 2 on 70 of 80 targets, none on 10`."""
    counted = Counter(target.alpha for target in targets if target.rank)
    total = sum(counted.values())
    known = sorted((alpha, count) for alpha, count in counted.items() if alpha is not None)
    shown = ", ".join(f"alpha {alpha:g} on {count} of {number_of(total, 'target')}" for alpha, count in known)
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


def _problem(code: str, names: Iterable[str], total: int, words: str, more: str = "") -> Problem:
    names = tuple(names)
    sentence = f"{len(names)} of {number_of(total, 'target')} {words}; the first is {names[0]}{more}"
    return Problem(code=code, words=sentence, targets=names)
