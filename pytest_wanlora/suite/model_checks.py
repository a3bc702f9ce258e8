"""What is wrong with the model of a suite: its denoisers, the LoRAs on it, and first frames that it reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from pytest_wanlora.suite import checks
from pytest_wanlora.suite.document import KeyPath, Value, quoted
from pytest_wanlora.suite.sampling import noise_levels

#: DiffSynth computes the schedule in float32: a boundary as near to a step as this may fall on either side.
_ROUNDING: Final = 1e-6


def across(data: Mapping[str, Value]) -> Iterator[checks.Complaint]:
    """Check what no single key of the model can; works on the raw tree, as `checks.across` does."""
    yield from _denoisers(data)
    yield from _boundary(data)
    yield from _stack(data)
    yield from _first_frames(data)


def _denoisers(data: Mapping[str, Value]) -> Iterator[checks.Complaint]:
    """A model has one denoiser, or two experts that are told apart and meet at a boundary."""
    if not isinstance(data.get("model"), dict):
        return
    model = checks.mapping(data["model"])
    if "experts" not in model:
        if "dit" not in model:
            yield ("model", "dit"), "missing; it has no default"
        for key in ("boundary", "resident_experts"):
            if key in model:
                text = "this model has one denoiser; allowed: left out, or beside model.experts"
                yield ("model", key), text
        return
    if "dit" in model:
        yield ("model", "dit"), "not with experts; allowed: model.experts.high.dit and model.experts.low.dit"
    if "boundary" not in model:
        text = "missing; with experts it says below which noise level, 0 to 1, the low one denoises"
        yield ("model", "boundary"), text
    if model.get("resident_experts") == 1 and model.get("vram_limit") is not None:
        text = "1: not with model.vram_limit, which moves the weights itself; allowed: one of the two keys"
        yield ("model", "resident_experts"), text
    given = [checks.mapping(checks.mapping(model["experts"]).get(name)) for name in ("high", "low")]
    guidance = [
        each.get("cfg_scale", checks.mapping(data.get("sampling")).get("cfg_scale")) for each in given
    ]
    if len({value == 1 for value in guidance}) == 2:
        text = "guidance 1 of one expert alone: it means no guidance; allowed: 1 of both, or of neither"
        yield ("model", "experts"), text
    high, low = (each.get("dit") for each in given)
    # whether LoRAs on them are the same for both is known where they are read
    if high is not None and high == low and not data.get("stack"):
        text = "the same weights as high: two experts would be one; allowed: the low-noise expert's own"
        yield ("model", "experts", "low", "dit"), text


def _stack(data: Mapping[str, Value]) -> Iterator[checks.Complaint]:
    experts = "experts" in checks.mapping(data.get("model"))
    allowed = ("high", "low") if experts else ("lora",)
    for number, item in checks.items(data.get("stack")):
        given = [key for key in ("lora", "high", "low") if key in item]
        wrong = [key for key in given if key not in allowed]
        has = "two experts" if experts else "one denoiser"
        if wrong:
            text = f"this model has {has}; allowed: {' and '.join(allowed)}"
            yield ("stack", number, wrong[0]), text
        elif not given:
            yield ("stack", number), f"no LoRA; this model has {has}; allowed: {' and '.join(allowed)}"
        if item.get("scale") in (0, 0.0) and not isinstance(item.get("scale"), bool):
            yield ("stack", number, "scale"), "0: the LoRA would do nothing; allowed: -10 to 10, not 0"
        place: KeyPath = ("stack", number, "sha256")
        yield from checks.unknown_files(item.get("sha256"), [item[key] for key in given], place)


def _boundary(data: Mapping[str, Value]) -> Iterator[checks.Complaint]:
    """Each expert must have a step: nothing that is measured would tell of the LoRA of the other one."""
    model, sampling = checks.mapping(data.get("model")), checks.mapping(data.get("sampling"))
    boundary, steps, shift = model.get("boundary"), sampling.get("steps"), sampling.get("shift")
    if "experts" not in model or not checks.is_int(steps) or not 1 <= steps <= 1000:
        return
    if not _is_number(boundary) or not _is_number(shift) or not (0 < boundary < 1 and 0 < shift <= 50):
        return  # the schema names it
    if steps == 1:
        text = "1: a model with two experts needs a step for each; allowed: 2 or more"
        yield ("sampling", "steps"), text
        return
    first, last = noise_levels(steps, shift)
    without = "low" if boundary <= last + _ROUNDING else "high" if boundary > first - _ROUNDING else None
    if without is not None:
        least, most = math.floor((last + _ROUNDING) * 1e4 + 1) / 1e4, 0.9999
        text = (
            f"{boundary!r}: the {without}-noise expert would have no step, and no video would tell of its "
            f"LoRA: the {steps} steps at shift {shift:g} go from noise level {first:.6g} to {last:.6g}; "
            f"allowed: {least:g} to {most:g}"
        )
        yield ("model", "boundary"), text


def _first_frames(data: Mapping[str, Value]) -> Iterator[checks.Complaint]:
    """DiffSynth ignores a picture that the model does not read, and renders without one that it needs.

    A model of 36 channels reads a first frame beside the noise, one of 16 channels reads none, and
    TI2V-5B takes both. A scenario of an installed type may give the pipeline something else in its place.
    """
    model = checks.mapping(data.get("model"))
    architecture = checks.mapping(model.get("architecture"))
    channels, layers = architecture.get("in_dim"), architecture.get("image_layers") is True
    needs, refuses = channels == 36 or layers, channels == 16 and not layers
    for number, item in checks.items(data.get("scenarios")):
        given, key = item.get("input_image"), ("scenarios", number, "input_image")
        if given is None and item.get("input_image_sha256"):
            text = "without input_image; allowed: beside input_image, or left out"
            yield (*key[:2], "input_image_sha256"), text
        if "type" in item:
            continue
        if needs and given is None:
            text = (
                "missing; the model is an image-to-video one (model.architecture), it renders from a first "
                "frame; allowed: the path of a picture"
            )
            yield key, text
        elif refuses and given is not None:
            text = (
                f"{quoted(given)}: the model reads no first frame (model.architecture.in_dim: 16), the "
                "picture would be ignored; allowed: left out, or the suite of an image-to-video model"
            )
            yield key, text
    encoder = model.get("image_encoder")
    if layers and "image_encoder" not in model:
        text = (
            "missing; the blocks of the model read CLIP's view of the first frame "
            "(model.architecture.image_layers: true); allowed: the weights of its image encoder"
        )
        yield ("model", "image_encoder"), text
    elif encoder is not None and not layers:
        text = (
            f"{quoted(encoder)}: the model reads no CLIP image (model.architecture.image_layers is not "
            "true), it would be loaded and ignored; allowed: left out, or image_layers: true if it does"
        )
        yield ("model", "image_encoder"), text


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
