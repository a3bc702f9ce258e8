"""What a suite file may hold: frozen models, strict about types and closed to unknown keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from pytest_wanlora.metrics import BUILT_IN, METRICS, Metric
from pytest_wanlora.registry import extensions
from pytest_wanlora.suite import checks
from pytest_wanlora.suite.fields import (
    Entry,
    Frozen,
    MetricId,
    Name,
    StatedSha256,
    Text,
    Weights,
    clip_model,
    image,
    reference,
    refusal,
    whole,
)
from pytest_wanlora.suite.model_files import ModelFiles, Stacked
from pytest_wanlora.suite.sampling import Sampling
from pytest_wanlora.suite.subject import Bleed, Demands, FrameEmbedder, Subject

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")
_LONGEST_PROMPT_FOR_CLIP: Final = 50  # words; CLIP's 77 tokens end soon after


def _foreign(text: str) -> str | None:
    letter = next((each for each in text if each.isalpha() and ord(each) > 0x24F), None)
    return None if letter is None else f"has the letter {letter!r}, not a Latin one"


def unreadable_by_clip(text: str) -> str | None:
    """Return why CLIP cannot read a text, as `has 64 words`, or None; tokens are not counted here."""
    if (foreign := _foreign(text)) is not None:
        return foreign
    words = len(text.split())
    return (
        f"has {words} words and CLIP reads about {_LONGEST_PROMPT_FOR_CLIP}"
        if words > _LONGEST_PROMPT_FOR_CLIP
        else None
    )


def _with_defaults(value: object) -> object:
    """Lay a suite's tolerances over the defaults; `off` takes a metric out of the gate."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: tolerance for key, tolerance in {**default_tolerances(), **value}.items() if tolerance != "off"
    }


class ClipScorer(Frozen):
    """The CLIP model behind `clip`, `clip_cosine` and `temporal`.

    Attributes:
        model: A model name of open_clip, or a reference to a JSON configuration.
        sha256: Of the weights; empty when not stated.
        frame: What of a frame is embedded: its middle, by the model's own preprocessing, or all of it.
    """

    model: Annotated[Text, AfterValidator(clip_model)]
    weights: Weights
    sha256: StatedSha256 = ""
    frame: Literal["middle", "whole"] = "middle"

    @property
    def model_is_file(self) -> bool:
        """Whether `model` is a file reference rather than a name of open_clip."""
        return self.model.endswith(".json")


class VideoFeatures(Frozen):
    """The network behind `fvd` and `kvd`.

    Attributes:
        kind: `"module"`: a class of a package with safetensors; `"torchscript"`: the published I3D file.
        sha256: Of the weights; required for TorchScript, which is a program. Empty when not stated.
        module: `package.module:Class`, for kind `"module"` alone.
    """

    kind: Literal["module", "torchscript"]
    weights: Annotated[str, reference(".safetensors", ".pt")]
    sha256: StatedSha256 = ""
    module: Entry | None = None


class Scoring(Frozen):
    """How videos are scored; all of it is part of the fingerprint.

    Attributes:
        reference: Safetensors file with the features of the reference videos.
        reference_sha256: Of that file; empty when not stated.
        sharpness_reference: Variance of the Laplacian that counts as 100 % in `sharpness_pct`.
        frames: What likeness compares frames by; None: CLIP.
    """

    clip: ClipScorer
    video_features: VideoFeatures
    reference: Weights
    reference_sha256: StatedSha256 = ""
    sharpness_reference: Annotated[float, Field(gt=0)]
    frames: FrameEmbedder | None = None


def _usual_scope(data: Mapping[str, Any]) -> str:
    metric = METRICS.get(data.get("metric", ""))
    return "all" if metric is not None and metric.level == "set" else "each"


class Limit(Frozen):
    """An absolute bound on the candidate, whatever the baseline.

    Attributes:
        metric: Metric id.
        min: Lowest value that passes.
        max: Highest value that passes.
        scenario: `"each"` scenario on its own, `"all"` of them pooled, or one scenario's id. Left out: all
            for metrics of sets, each for metrics of videos.
    """

    metric: MetricId
    min: float | None = None
    max: float | None = None
    scenario: str = Field(default_factory=_usual_scope)

    @model_validator(mode="after")
    def _bounded(self) -> Limit:
        if self.min is None and self.max is None:
            raise refusal("neither min nor max; allowed: one of them or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refusal(f"above max, {self.max:g}; allowed: min up to max", key="min")
        return self


class Tolerance(Frozen):
    """How much worse than the baseline a score may be; relative, 0.05 is 5 %.

    Attributes:
        warn: From here on `warn`, 0 to 1.
        fail: Beyond it `fail`, `warn` to 1.
        better: Improvement from which a score is called better.
    """

    warn: Annotated[float, Field(ge=0, le=1)]
    fail: Annotated[float, Field(gt=0, le=1)]
    better: Annotated[float, Field(gt=0, le=1)] = 0.20

    @model_validator(mode="after")
    def _ordered(self) -> Tolerance:
        if self.warn > self.fail:
            raise refusal(f"above fail, {self.fail:g}; allowed: 0 to fail", key="warn")
        return self


def _tolerances(metrics: Mapping[str, Metric]) -> dict[str, Tolerance]:
    bands = {metric.id: metric.tolerance for metric in metrics.values()}
    return {name: Tolerance(warn=band[0], fail=band[1]) for name, band in bands.items() if band is not None}


DEFAULT_TOLERANCES: Final[Mapping[str, Tolerance]] = MappingProxyType(_tolerances(BUILT_IN))
"""Tolerances of the built-in metrics that a suite does not name."""


def default_tolerances() -> dict[str, Tolerance]:
    """The same with the metrics of installed packages."""
    return _tolerances(METRICS)


class Seeds(Frozen):
    """How many seeds a scenario is rendered with.

    Attributes:
        most: Seeds of the last look; between them a run looks at 2, 3, 4, 6, 8, 12, 16, 24, ... seeds.
        start: The first seed; the others follow it.
        baseline: Seeds that are measured of the model without a LoRA, `most` or more; `most` when left out.
            More of them make the base's distances surer in every gate.
    """

    first: Annotated[int, Field(ge=1, le=1000)] = 3
    most: Annotated[int, Field(ge=1, le=1000)] = 16
    start: Annotated[int, Field(ge=0, le=2**31)] = 0
    baseline: Annotated[int, Field(le=1000)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Seeds:
        if self.first > self.most:
            raise refusal(f"more than most, {self.most}; allowed: 1 to most", key="first")
        if self.baseline is not None and self.baseline < self.most:
            raise refusal(
                f"fewer than most, {self.most}; allowed: most or more, up to 1000, or the key left out",
                key="baseline",
            )
        return self


class Scenario(Frozen):
    """One prompt.

    Attributes:
        id: Name in test ids, folders and reports.
        category: What training data it stands for.
        prompt: What the model is told.
        caption: A short English sentence for CLIP, which reads about 50 words and no Chinese; the prompt
            itself when left out.
        input_image: First frame, for image-to-video.
        input_image_sha256: Of that file; empty when not stated.
        target: Values to reach by more training, by metric; reported, never gated.

    A subclass in another package, named by an entry point of the group `wanlora.scenarios`, adds keys; a
    suite selects it by `type: NAME`.
    """

    id: Name
    category: Text
    prompt: Text
    caption: Text | None = None
    input_image: Annotated[str, reference(*_PICTURES, either_case=True), AfterValidator(image)] | None = None
    input_image_sha256: StatedSha256 = ""
    target: Mapping[MetricId, float] = Field(default_factory=dict)

    def pipeline_arguments(self) -> dict[str, Any]:
        """More arguments of DiffSynth's pipeline, such as a control video; they must follow from `key_parts`.

        Called once for each batch of seeds, so they cannot depend on the seed.
        """
        return {}

    def key_parts(self) -> Mapping[str, str | int | float | bool | Path | None]:
        """Everything that `pipeline_arguments` depends on; a `Path` stands for the content of the file.

        It is part of the key of every job of the scenario, so a change renders the scenario again.
        """
        return {}

    @property
    def clip_caption(self) -> str:
        """What CLIP compares the frames with."""
        return self.caption or self.prompt

    @model_validator(mode="after")
    def _readable_by_clip(self) -> Scenario:
        if self.caption is None and (reason := unreadable_by_clip(self.prompt)):
            raise refusal(
                f"missing; CLIP does not read this prompt, which {reason}; allowed: a short English one",
                key="caption",
            )
        if self.caption is not None and (reason := _foreign(self.caption)):
            raise refusal(f"CLIP does not read it, it {reason}; allowed: a short English one", key="caption")
        return self


@cache
def added_scenarios() -> Mapping[str, type[Scenario]]:
    """The types of scenarios of installed packages, by name."""
    found = extensions("wanlora.scenarios", type)
    for each in found:
        if not issubclass(each.value, Scenario) or each.value is Scenario:
            raise each.wrong(f"{each.value.__name__} is no subclass of pytest_wanlora.Scenario")
        if each.value.key_parts is Scenario.key_parts:
            raise each.wrong(f"{each.value.__name__} has no method key_parts")
    return MappingProxyType({each.name: each.value for each in found})


def _of_type(value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Scenario:
    """Validate a scenario with the class that its key `type` selects."""
    if not isinstance(value, Mapping) or "type" not in value:
        plain: Scenario = handler(value)
        return plain
    kind = added_scenarios().get(value["type"])
    if kind is None:
        raise refusal(checks.unknown("type", str(value["type"]), added_scenarios()), key="type")
    keys = {key: given for key, given in value.items() if key != "type"}
    return kind.model_validate(keys, context=info.context)


AnyScenario: TypeAlias = Annotated[SerializeAsAny[Scenario], WrapValidator(_of_type)]


class Suite(Frozen):
    """One suite file.

    Attributes:
        name: Folder of its baselines; the file's name when left out.
        schema_version: Of the file's format.
        device: On what to render unless the user says otherwise; `"auto"` is the first GPU, or the CPU where
            there is none. For a suite whose baseline was measured on one kind of device. Not part of the
            fingerprint, because a baseline's environment is compared too.
        model: Files and shapes of the video model.
        stack: LoRAs that lie on the model below baseline and candidate alike, in their order.
        tolerances: Bands by metric, the defaults included.
        undecided: What a change beyond its band does that is not proven at the last look: it blocks, or it
            warns.
        objective: What makes one checkpoint better than another that may be published too: the smaller
            `"mean"`, or the smaller `"worst"`, of its changes to the worse as shares of their fail bands.
        subject: What the LoRA was trained to show, and what it must have improved, `demands`.
        bleed: How much the LoRA may change scenarios that it is not about; None: not asked.
        categories: Words by language by category, for the training data's statistics.
    """

    name: Name
    schema_version: Annotated[Literal[1], BeforeValidator(whole)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model: ModelFiles
    stack: tuple[Stacked, ...] = ()
    sampling: Sampling
    scoring: Scoring
    limits: tuple[Limit, ...] = ()
    tolerances: Annotated[
        Mapping[MetricId, Tolerance],
        BeforeValidator(_with_defaults),
        Field(default_factory=default_tolerances),
    ]
    undecided: Literal["block", "warn"] = "block"
    objective: Literal["mean", "worst"] = "mean"
    subject: Subject | None = None
    demands: Demands | None = None
    bleed: Bleed | None = None
    scenarios: Annotated[tuple[AnyScenario, ...], Field(min_length=1)]
    seeds: Seeds = Seeds()
    categories: Mapping[Text, Mapping[Name, tuple[Text, ...]]] = Field(default_factory=dict)
    path: Path = Field(exclude=True)
    sha256: str = Field(exclude=True)

    _lines: Mapping[str, int] = PrivateAttr(default_factory=dict)
    _triggered: Mapping[str, Scenario] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:  # noqa: ANN401  not yet checked
        if isinstance(data, Mapping) and "weak" in data:
            raise refusal(
                "the key is now undecided; allowed: undecided: block (a loss that is not proven keeps the "
                "checkpoint from being published, the default) or undecided: warn",
                key="weak",
            )
        return data

    @model_validator(mode="after")
    def _gates_something(self) -> Suite:
        if not self.tolerances and not self.limits:
            raise refusal(
                "all are off and there are no limits; allowed: at least one of either", key="tolerances"
            )
        return self

    def compared_by(self, scenarios: Iterable[Scenario], triggered: Mapping[str, Scenario]) -> Suite:
        """The suite with other prompts: those without a trigger to compare by, and those with it by id."""
        copy = self.model_copy(update={"scenarios": tuple(scenarios)})
        copy._triggered = triggered
        return copy

    @property
    def triggered(self) -> Mapping[str, Scenario]:
        """By the id of a scenario with `{trigger}`: what the candidate is rendered for a third time."""
        return self._triggered

    def guidance(self, expert: str = "") -> float:
        """The guidance of an expert, or of the one denoiser: the expert's own, else the sampling's."""
        own = None if self.model.experts is None else self.model.experts.of(expert).cfg_scale
        return self.sampling.cfg_scale if own is None else own

    def at_lines(self, lines: Mapping[str, int]) -> Suite:
        """Return the suite knowing the line of each dotted key of its file."""
        copy = self.model_copy()
        copy._lines = lines
        return copy

    def where(self, key: str) -> str:
        """Return `file:line` of a dotted key, `model.dit[0]`, or of the nearest key above it."""
        while key and key not in self._lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return f"{self.path}:{self._lines.get(key, 1)}"

    def show(self, key: str) -> str:
        """The command that shows the line of a dotted key."""
        return f"sed -n {self.where(key).rpartition(':')[2]}p {shlex.quote(str(self.path))}"
