"""What a suite asks of a LoRA besides its scores: its subject, what it must improve, how much may bleed."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from pytest_wanlora.suite.fields import Frozen, Sha256, SuiteFile, Text, Weights, reference, refusal

#: Stands for the trigger in a scenario's prompt.
TRIGGER: Final = "{trigger}"
#: Behind a scenario's id: its videos with the trigger. No id has this letter.
WITH_TRIGGER: Final = "+trigger"


class Bleed(Frozen):
    """How much a LoRA may change what it is not about.

    The value is the distance of a video's features to the base model's of the same seed, in units of what
    another seed changes: 0 is the same video, 1 another one.

    Attributes:
        about: Categories that the LoRA is about, which are not asked; scenarios with a trigger always are,
            without it.
        warn: From here on `warn`.
        fail: Beyond it `fail`, if the value is proven to be beyond `warn`.
    """

    about: tuple[Text, ...] = ()
    warn: Annotated[float, Field(gt=0)] = 0.4
    fail: Annotated[float, Field(gt=0)] = 0.7

    @model_validator(mode="after")
    def _ordered(self) -> Bleed:
        if self.warn > self.fail:
            raise refusal(f"above fail, {self.fail:g}; allowed: above 0, up to fail", key="warn")
        return self


class Collapse(Frozen):
    """How alike the videos of different seeds may become.

    The value is the mean distance between two seeds with the trigger, in units of the base model's.

    Attributes:
        warn: Up to here `warn`.
        fail: Below it `fail`, if the value is proven to be below `warn`.
    """

    warn: Annotated[float, Field(gt=0)] = 0.5
    fail: Annotated[float, Field(gt=0)] = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Collapse:
        if self.warn < self.fail:
            raise refusal(f"below fail, {self.fail:g}; allowed: fail or more", key="warn")
        return self


class FrameEmbedder(Frozen):
    """What frames are compared by in the place of CLIP: DINOv2.

    Attributes:
        kind: `"dinov2"`.
        model: The `config.json` of transformers.
        weights: Safetensors file.
        sha256: Of the weights.
    """

    kind: Literal["dinov2"]
    model: Annotated[str, reference(".json")]
    weights: Weights
    sha256: Sha256


def frames_feature(embedder: FrameEmbedder | None) -> str:
    """Name of the features of a video that likeness is measured on."""
    return "clip_frames" if embedder is None else "dino_frames"


class Subject(Frozen):
    """What a LoRA was trained to show.

    Attributes:
        trigger: What takes the place of `{trigger}` in a prompt.
        without: What takes its place where the trigger is left out, such as the word for the class.
        references: Folder of pictures and videos of the subject that the training has not seen.
        training: The training metadata, to prove that, and to find copies; None: neither.
        collapse: How alike the videos of different seeds may become.
    """

    trigger: Text
    without: str = ""
    references: SuiteFile
    training: SuiteFile | None = None
    collapse: Collapse = Collapse()


class Likeness(Frozen):
    """How much more alike the references videos must be with the LoRA and its trigger.

    Attributes:
        gain: In cosine; proven at the last look to be above 0, and estimated to be this.
    """

    gain: Annotated[float, Field(gt=0, le=2)]


class Demands(Frozen):
    """What a LoRA must have improved.

    Attributes:
        likeness: Of its subject.
    """

    likeness: Likeness


def filled(text: str, words: str) -> str:
    """A prompt with words in the place of `{trigger}`; without words, the gap is closed.

    Example:
        >>> filled("a photo of {trigger}, at night", "")
        'a photo of, at night'
    """
    if words:
        return text.replace(TRIGGER, words)
    closed = re.sub(r"\s+([,.;:!?])", r"\1", re.sub(r"\s{2,}", " ", text.replace(TRIGGER, "")))
    return re.sub(r"([,;:])(\s*[,;:])+", r"\1", closed).strip(" ,;:")


def plain(scenario: str) -> str:
    """Id of a scenario without the mark of its videos with the trigger."""
    return scenario.removesuffix(WITH_TRIGGER)
