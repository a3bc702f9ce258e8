"""What a word counts beside the weight in its list: by who the prompt is about, and the word's role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import resources

import yaml

from pytest_wanlora.training_data.roles import Role


class Kind(IntEnum):
    """What a word of the lists is about, a column of `Weights.subjects`."""

    ACT = 0
    PLACE = 1
    ANIMAL = 2
    OTHER = 3
    SUBJECT = 4
    """Any of the last three that is the subject."""


class Who(IntEnum):
    """Who or what a prompt is about, a row of `Weights.subjects`."""

    NOTHING = 0
    THING = 1
    PLACE = 2
    ACT = 3
    ANIMAL = 4
    ANIMAL_AND_PEOPLE = 5
    PEOPLE_AND_ANIMAL = 6
    PEOPLE = 7
    PEOPLE_WHO_STAY = 8


@dataclass(frozen=True)
class Weights:
    """Fitted to labelled prompts by `benchmarks/fit_weights.py`.

    A category's score is `floor` and the sum over its words of role * subject * weight ** power. It is right
    with the chance of its score ** `sharpness` among those of all categories.

    Attributes:
        roles: By `Role`.
        subjects: By `Who` and `Kind`.
        powers: By the first four of `Kind`.
        floor: Score of a category without words.
        sharpness: See above.
        nothing: How often a prompt without any word is `other`.
    """

    roles: tuple[float, ...]
    subjects: tuple[tuple[float, ...], ...]
    powers: tuple[float, ...]
    floor: float
    sharpness: float
    nothing: float


@cache
def packaged_weights() -> Weights:
    """The weights that come with this package."""
    file = resources.files("pytest_wanlora.training_data").joinpath("weights.yaml")
    read = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Weights(
        roles=tuple(read["roles"][role.name.lower()] for role in Role),
        subjects=tuple(tuple(read["subjects"][who.name.lower()]) for who in Who),
        powers=tuple(read["powers"]),
        floor=read["floor"],
        sharpness=read["sharpness"],
        nothing=read["nothing"],
    )
