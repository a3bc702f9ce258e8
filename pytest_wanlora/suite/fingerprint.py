"""Digests of the files of a suite, and what must be equal for two results to be comparable."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.metrics import scoring_metrics
from pytest_wanlora.suite import hub
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.files import has_magic, inner_path, name_of, named, resolve, stated_for, verify
from pytest_wanlora.suite.models import added_models
from pytest_wanlora.suite.schema import Scenario, Suite


def references(suite: Suite) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, reference) for every file of a suite, in the order of the file."""
    model, scoring = suite.model, suite.scoring
    for key, weights in model.denoisers.values():
        for number, text in enumerate(weights):
            yield f"{key}[{number}]", text
    yield "model.text_encoder", model.text_encoder
    yield "model.vae", model.vae
    if model.image_encoder is not None:
        yield "model.image_encoder", model.image_encoder
    yield "model.tokenizer", model.tokenizer
    for place, each in enumerate(suite.stack):
        for _, name, text in each.files():
            yield f"stack[{place}].{name}", text
    if scoring.clip.model_is_file:
        yield "scoring.clip.model", scoring.clip.model
    yield "scoring.clip.weights", scoring.clip.weights
    yield "scoring.video_features.weights", scoring.video_features.weights
    if scoring.frames is not None:
        yield "scoring.frames.model", scoring.frames.model
        yield "scoring.frames.weights", scoring.frames.weights
    yield "scoring.reference", scoring.reference
    for number, scenario in enumerate(suite.scenarios):
        if scenario.input_image is not None:
            yield f"scenarios[{number}].input_image", scenario.input_image
        for name, part in scenario.key_parts().items():
            if isinstance(part, Path):
                yield f"scenarios[{number}].{name}", str(part)


def check_digests(suite: Suite, *, skip: Collection[str] = ()) -> Mapping[Path, str]:
    """Find every local file of a suite and compare it with the digest that the suite states.

    Files without a stated digest only have to exist. Files of the hub are checked by `verify` once they are
    on the disk.

    Args:
        skip: Dotted keys to leave out, such as `scoring.reference` before there is one.

    Returns:
        Digest of every file that was compared.

    Raises:
        SuiteError: Files are missing or differ; names all of them.
    """
    complaints: list[str] = []
    checked: dict[Path, str] = {}
    command: str | None = None
    for key, text in references(suite):
        if key in skip:
            continue
        where = suite.where(key)
        try:
            reference = resolve(text, key=key, where=where)
            checked |= verify(reference.paths, stated(suite, key, text), key=key, where=where)
        except SuiteError as error:
            complaints.append(error.message)
            command = command or error.next_command or suite.show(key)
    if complaints:
        raise SuiteError("\n".join(complaints), next_command=command)
    return checked


def fingerprint(suite: Suite) -> dict[str, Any]:
    """Return all that must be equal for two results to be comparable, as plain JSON data.

    Model files and scorers by digest (by hub id where they are not on this disk yet), sampling, the reference
    set and the metrics' versions. Not the scenarios, limits or tolerances, and no paths. Stated digests are
    taken as given: `check_digests` proves them.

    Raises:
        SuiteError: A local file is missing or cannot be read.
    """
    clip, video = suite.scoring.clip, suite.scoring.video_features
    by_key = dict(references(suite))

    def scored(key: str) -> dict[str, Any]:
        return _identity(suite, key, by_key[key])

    parts = {scenario.id: found for scenario in suite.scenarios if (found := key_parts(scenario))}
    return {
        **({"scenarios": parts} if parts else {}),
        "model": {
            "files": {key: scored(key) for key in by_key if key.startswith("model.")},
            "register": _registered(suite.model.register),
            **_experts(suite),
        },
        **({"stack": stack} if (stack := _stack(suite, by_key)) else {}),
        "sampling": suite.sampling.identity(),
        "scoring": {
            "clip": {
                "model": scored("scoring.clip.model") if clip.model_is_file else clip.model,
                "weights": scored("scoring.clip.weights"),
                # the fingerprint of a suite without it is that of before
                **({} if clip.frame == "middle" else {"frame": clip.frame}),
            },
            "video_features": {
                "kind": video.kind,
                "module": video.module,
                "weights": scored("scoring.video_features.weights"),
            },
            **(
                {}
                if suite.scoring.frames is None
                else {"frames": [scored(f"scoring.frames.{part}") for part in ("model", "weights")]}
            ),
            "reference": scored("scoring.reference"),
            "sharpness_reference": suite.scoring.sharpness_reference,
            "metrics": {metric.id: metric.version for metric in scoring_metrics()},
        },
    }


def _experts(suite: Suite) -> dict[str, Any]:
    model = suite.model
    if model.experts is None:
        return {}
    guidance = {name: suite.guidance(name) for name in model.denoisers}
    return {"experts": {"boundary": model.boundary, "cfg_scale": guidance}}


def _stack(suite: Suite, by_key: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "scale": each.scale,
            **{name: _identity(suite, key, by_key[key]) for name, key in keys},
        }
        for place, each in enumerate(suite.stack)
        for keys in [[(name, f"stack[{place}].{name}") for _, name, _ in each.files()]]
    ]


def key_parts(scenario: Scenario) -> dict[str, Any]:
    """What a scenario of an installed type depends on besides its text; files by their digest."""
    found: dict[str, Any] = {}
    for name, part in scenario.key_parts().items():
        try:
            found[name] = {"sha256": digest(part)} if isinstance(part, Path) else part
        except OSError as error:
            raise SuiteError(
                f"scenario {scenario.id}: {name}: {part}: cannot be read: {error.strerror}",
                next_command=f"ls -l {shlex.quote(str(part))}",
            ) from error
    return {"type": type(scenario).__qualname__, **found} if found else {}


def _registered(name: str | None) -> str | None:
    """`model.register` as the fingerprint has it: with the version, if an installed package provides it."""
    if name is None or ":" in name:
        return name
    return f"{name} version {added_models()[name].value.version}"


def identity(suite: Suite, key: str) -> dict[str, Any]:
    """Name the content of one file of a suite as `fingerprint` does."""
    return _identity(suite, key, dict(references(suite))[key])


def _identity(suite: Suite, key: str, text: str) -> dict[str, Any]:
    """Name the content of a reference by digests, or by its hub id where no digest is known.

    A single file has one identity, wherever it lies, once its digest is stated.
    """
    digests = stated(suite, key, text)
    reference = resolve(text, key=key, where=suite.where(key))
    if reference.pattern is not None:
        known = sorted(digests.values())
        if not has_magic(reference.pattern) and (one := stated_for(Path(reference.pattern), digests)):
            return {"sha256": [one]}
        try:
            # what is loaded, wherever the hub has moved to since
            here = sorted(stated_for(path, digests) or digest(path) for path in hub.local_files(reference))
        except OSError as error:
            raise SuiteError(
                f"{suite.where(key)}: {key}: {error.filename}: cannot be read: {error.strerror}",
                next_command=f"ls -l {shlex.quote(str(error.filename))}",
            ) from error
        return {"hub": f"{reference.hub_id}:{reference.pattern}", "sha256": here or known}
    try:
        return {"sha256": sorted(stated_for(path, digests) or digest(path) for path in reference.paths)}
    except OSError as error:
        raise SuiteError(
            f"{suite.where(key)}: {key}: {error.filename}: cannot be read: {error.strerror}",
            next_command=f"ls -l {shlex.quote(str(error.filename))}",
        ) from error


def stated_at(suite: Suite, key: str, text: str) -> str:
    """Dotted key of the digest that a suite states for the file of another one."""
    if key.endswith(".weights"):
        return f"{key.removesuffix('.weights')}.sha256"
    if key == "scoring.reference" or key.endswith(".input_image"):
        return f"{key}_sha256"
    path = Path(inner_path(text))
    for place, known in _mappings(suite, key):
        if (name := name_of(path, known)) is not None:
            return f"{place}.sha256.{name}"
    return f"{key.partition('.')[0]}.sha256.{path.name}"


def _mappings(suite: Suite, key: str) -> list[tuple[str, Mapping[str, str]]]:
    """Where digests of a key's files may be stated, the nearest place first."""
    if key.startswith("stack["):
        entry = suite.stack[int(key[len("stack[") : key.index("]")])]
        return [(key.partition(".")[0], entry.sha256)]
    if not key.startswith("model."):
        return []
    expert = key.split(".")[2] if key.startswith("model.experts.") else ""
    experts = suite.model.experts
    own = [] if experts is None or not expert else [(f"model.experts.{expert}", experts.of(expert).sha256)]
    return [*own, ("model", suite.model.sha256)]


def stated(suite: Suite, key: str, text: str) -> dict[str, str]:
    """Return the digests that the suite states for a key's files, by name: see `files.named`."""
    single = {
        "scoring.clip.weights": suite.scoring.clip.sha256,
        "scoring.video_features.weights": suite.scoring.video_features.sha256,
        "scoring.reference": suite.scoring.reference_sha256,
        "scoring.frames.weights": "" if suite.scoring.frames is None else suite.scoring.frames.sha256,
    }
    if key.startswith("scenarios[") and key.endswith("].input_image"):
        single[key] = suite.scenarios[int(key[len("scenarios[") : key.index("]")])].input_image_sha256
    if key in single:
        return {"": single[key]} if single[key] else {}
    return {
        name: value
        for _, known in reversed(_mappings(suite, key))
        for name, value in known.items()
        if named(name, text)
    }
