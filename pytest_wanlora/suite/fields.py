"""Types of single keys of a suite, each with its check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from pytest_wanlora.metrics import scoring_metrics
from pytest_wanlora.suite import checks, files
from pytest_wanlora.suite.models import added_models


class Frozen(BaseModel):
    """Frozen, strict about types, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def refusal(complaint: str, *, key: str = "") -> PydanticCustomError:
    """Build an error in the words of suite files; `key` points at a key of the model that raises it."""
    return PydanticCustomError("wanlora", "{complaint}", {"complaint": complaint, "key": key})


def reference(*suffixes: str, either_case: bool = False) -> AfterValidator:
    """Check a file reference and make it absolute, against the folders of the validation context.

    Args:
        suffixes: Allowed endings; none: any.
        either_case: Whether `.PNG` is `.png`. DiffSynth and open_clip choose how to read weights by an ending
            in small letters, what this package reads itself may have either.
    """

    def check(text: str, info: ValidationInfo) -> str:
        text = _anchored(text, info)
        ending = text.lower() if either_case else text
        if suffixes and not ending.endswith(suffixes):
            small = ", in small letters" if text.lower().endswith(suffixes) else ""
            raise refusal(f"not a kind of file that is read; allowed: {', '.join(suffixes)}{small}")
        return text

    return AfterValidator(check)


def clip_model(text: str, info: ValidationInfo) -> str:
    """Make a reference to a JSON configuration absolute; a name of open_clip stays as it is."""
    return _anchored(text, info) if text.endswith(".json") else text


def image(text: str, info: ValidationInfo) -> str:
    """Turn an image reference into a path of one picture."""
    inside = text.removeprefix(f"{(info.context or {}).get('folder', '')}/")
    if files.has_magic(inside) and not Path(text).exists():
        raise refusal("a pattern, and a scenario has one first frame; allowed: the path of one picture")
    if text.startswith("hub:"):
        raise refusal("an image is not fetched from the hub; allowed: a path, package:FILE")
    return str(files.inside_package(text)) if text.startswith("package:") else text


def metric(name: str) -> str:
    """Refuse what is no metric id."""
    if name not in (known := [each.id for each in scoring_metrics()]):
        raise refusal(checks.unknown("metric", name, known))
    return name


def installed_model(name: str) -> str:
    """Refuse the name of a model that no installed package provides."""
    if ":" not in name and name not in added_models():
        raise refusal(f"{checks.unknown('model', name, added_models())}; or package.module:name")
    return name


def whole(value: object) -> object:
    """Refuse what equals one of the allowed numbers and is none: true is no 1, and 16.0 is not whole."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise PydanticCustomError("int_type", "a whole number")
    return value


def as_tuple(value: object) -> object:
    """Let one text stand for a list of one."""
    return (value,) if isinstance(value, str) else value


def _anchored(text: str, info: ValidationInfo) -> str:
    if info.context is None:
        return text
    try:
        return files.anchored(text, **info.context)
    except ValueError as error:
        raise refusal(str(error)) from error


Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=checks.NAME, max_length=64)]
Sha256: TypeAlias = Annotated[str, StringConstraints(pattern=checks.SHA256, to_lower=True)]
StatedSha256: TypeAlias = Annotated[str, StringConstraints(pattern=checks.STATED_SHA256, to_lower=True)]
Registration: TypeAlias = Annotated[
    str, StringConstraints(pattern=checks.ENTRY_OR_NAME), AfterValidator(installed_model)
]
Entry: TypeAlias = Annotated[str, StringConstraints(pattern=checks.ENTRY)]
MetricId: TypeAlias = Annotated[str, AfterValidator(metric)]
SuiteFile: TypeAlias = Annotated[str, reference()]
Weights: TypeAlias = Annotated[str, reference(".safetensors")]
Lora: TypeAlias = Annotated[str, reference(".safetensors", either_case=True)]
Positive: TypeAlias = Annotated[int, Field(gt=0)]
