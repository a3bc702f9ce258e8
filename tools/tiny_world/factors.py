"""What a scene of the tiny world can be, and how a caption says it.

A *category* has a few *factors*, each with a few values; one value of every factor is a *combination*.
Pictures (:mod:`tools.tiny_world.draw`) and captions are made from the same combination, so the truth about a
video is known.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

HELD_OUT_SHARE = 8  # one combination in this many is never trained on


@dataclass(frozen=True)
class Category:
    """One category of the world.

    Attributes:
        name: Category name; also the key of its reference features.
        factors: Factor name -> its values, in the order that labels count them.
        templates: Ways to say a combination; the first is the canonical caption.
    """

    name: str
    factors: Mapping[str, tuple[str, ...]]
    templates: tuple[str, ...]

    def combinations(self) -> list[tuple[int, ...]]:
        """All combinations, each as value indices in the order of ``factors``."""
        return list(itertools.product(*(range(len(values)) for values in self.factors.values())))


CATEGORIES: Mapping[str, Category] = MappingProxyType(
    {
        "urban": Category(
            "urban",
            MappingProxyType(
                {
                    "neon": ("pink", "blue", "green", "orange"),
                    "towers": ("tall", "low"),
                    "sky": ("night", "dusk"),
                    "traffic": ("left", "right"),
                }
            ),
            (
                "a Korean city at {sky}, {towers} buildings with {neon} neon lights, cars driving {traffic}",
                "{sky} in Seoul: {neon} neon on {towers} buildings, traffic moving {traffic}",
                "cars going {traffic} below {towers} buildings with {neon} neon signs, city at {sky}",
                "a street in Seoul, {towers} buildings, {neon} neon, {sky} sky, cars to the {traffic}",
            ),
        ),
        "nature": Category(
            "nature",
            MappingProxyType(
                {
                    "blossom": ("pink", "white"),
                    "sky": ("day", "sunset", "dawn"),
                    "petals": ("few", "many"),
                    "wind": ("left", "right"),
                }
            ),
            (
                "a cherry tree with {blossom} blossoms at {sky}, {petals} petals falling to the {wind}",
                "{petals} petals drift {wind} from a {blossom} cherry tree, {sky} light",
                "{blossom} cherry blossoms on a hill at {sky}, wind blowing {petals} petals {wind}",
                "{sky} in the hills, a {blossom} cherry tree, {petals} falling petals carried {wind}",
            ),
        ),
        "action": Category(
            "action",
            MappingProxyType(
                {
                    "shirt": ("red", "blue", "yellow"),
                    "ground": ("track", "grass", "sand"),
                    "direction": ("left", "right"),
                    "speed": ("jogging", "sprinting"),
                }
            ),
            (
                "a runner in a {shirt} shirt {speed} to the {direction} on {ground}",
                "an athlete dressed in {shirt} is {speed} {direction} across the {ground}",
                "{speed} {direction} over {ground}, a person wearing a {shirt} shirt",
                "on the {ground} a {shirt} runner is {speed} towards the {direction}",
            ),
        ),
        "other": Category(
            "other",
            MappingProxyType(
                {
                    "thing": ("boat", "balloon"),
                    "colour": ("red", "green", "yellow"),
                    "direction": ("left", "right"),
                    "sky": ("day", "sunset"),
                }
            ),
            (
                "a {colour} {thing} moving {direction} at {sky}",
                "{sky}, a {thing} in {colour} drifts to the {direction}",
                "a {thing} with {colour} cloth floating {direction}, {sky} light",
                "floating {direction}: a {colour} {thing} at {sky}",
            ),
        ),
    }
)

#: The combination of each scenario of the packaged suite, by category.
SCENARIOS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"urban": (0, 0, 0, 1), "nature": (0, 0, 1, 0), "action": (0, 0, 1, 1)}
)


def caption(category: str, combination: Sequence[int], template: int = 0) -> str:
    """Say a combination in words.

    Args:
        category: A key of :data:`CATEGORIES`.
        combination: Value index of every factor.
        template: Which of the category's templates.

    Returns:
        One English sentence that states every factor.
    """
    spec = CATEGORIES[category]
    words = {name: spec.factors[name][value] for name, value in zip(spec.factors, combination, strict=True)}
    return spec.templates[template].format(**words)


def held_out(category: str, combination: Sequence[int]) -> bool:
    """Tell whether a combination is kept from all training.

    The choice is a hash of the combination, so it depends on no order and no seed. Combinations of the
    packaged scenarios are always trained on.
    """
    if SCENARIOS.get(category) == tuple(combination):
        return False
    digest = hashlib.sha256(f"{category}:{tuple(combination)}".encode()).digest()
    return digest[0] % HELD_OUT_SHARE == 0


def split(category: str, part: str) -> list[tuple[int, ...]]:
    """Combinations of a category that are in ``part``: ``"train"``, ``"held_out"`` or ``"all"``."""
    everything = CATEGORIES[category].combinations()
    if part == "all":
        return everything
    return [c for c in everything if held_out(category, c) == (part == "held_out")]


def labels(category: str, combinations: np.ndarray) -> dict[str, np.ndarray]:
    """Targets of the feature network: every factor of every category, -1 where it does not apply.

    Args:
        category: The category of all rows.
        combinations: Integer array of shape (n, number of factors).

    Returns:
        ``"category"`` and ``"<category>.<factor>"`` -> integer array of shape (n,).
    """
    count = len(combinations)
    result = {"category": np.full(count, list(CATEGORIES).index(category))}
    for other, spec in CATEGORIES.items():
        for column, factor in enumerate(spec.factors):
            result[f"{other}.{factor}"] = (
                combinations[:, column].copy() if other == category else np.full(count, -1)
            )
    return result


def label_sizes() -> dict[str, int]:
    """Number of values of each target that :func:`labels` names."""
    sizes = {"category": len(CATEGORIES)}
    for name, spec in CATEGORIES.items():
        for factor, values in spec.factors.items():
            sizes[f"{name}.{factor}"] = len(values)
    return sizes
