"""The baseline store: what candidates are compared with, in files that people can read and diff.

`baselines/<suite>/<name>/` holds `baseline.json` (everything but arrays, sorted) and
`features-<digest>.safetensors` (one tensor a scenario, a row a seed). The JSON names the digest of the
features and is written last: until it is renamed into place the old baseline is whole, and from then on the
new one is. It has a digest of its own, so an edit by hand is found out. Beside them may lie the `videos`.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError

from pytest_wanlora.baseline import videos as pictures
from pytest_wanlora.baseline.contents import Baseline
from pytest_wanlora.checkpoint import argument_of
from pytest_wanlora.errors import BaselineError
from pytest_wanlora.files import (
    dangling,
    json_sha256,
    listing,
    parse_json,
    read_regular,
    undashed,
    write_whole,
)
from pytest_wanlora.phrases import digits
from pytest_wanlora.schemas import first_error

SCHEMA_VERSION = 2
_VERSIONS = (1, SCHEMA_VERSION)
_JSON = "baseline.json"
#: Of the features of version 1, whose name does not depend on what they are.
_OLD_FEATURES = "features.safetensors"
_LARGEST_FEATURES = 2**32
#: Left by a process that died while it wrote; none needs an hour for that.
_LEFT = re.compile(r"\.(videos|baseline\.json|features-[0-9a-f]+\.safetensors)-[0-9a-f]{16}")
_LEFT_SECONDS = 3600.0
_FORMAT = "wanlora-features-1"
#: Behind a scenario's id: the tensor of its frames' embeddings. No id has a slash.
_FRAMES = "/frames"


def folder(root: Path, suite: str, name: str) -> Path:
    """Where a baseline is kept."""
    return root / suite / name


def update_command(suite: str, name: str) -> str:
    """What to type to measure a baseline."""
    if name == "base":
        return f"pytest --wanlora-suite {suite} --update-baselines"
    named = "" if name == "accepted" else f" --wanlora-baseline {name}"
    return f"pytest --wanlora-suite {suite} --lora FILE --update-baselines{named}"


def measure_again(found: Baseline, suite_option: str) -> str:
    """What to type to measure a stored baseline anew, with the checkpoint that it was measured with."""
    command = update_command(suite_option, found.name)
    if found.candidate is None:
        return command
    file = undashed(found.candidate.get("file", "FILE"))
    if halves := found.candidate.get("experts"):
        files = {expert: half["file"] for expert, half in halves.items()}
        file = argument_of(files, {expert: half["strength"] for expert, half in halves.items()})
    scale = "" if found.scale in (None, 1.0) else f" --wanlora-scale {digits(found.scale)}"
    return command.replace("--lora FILE", f"--lora {shlex.quote(file)}") + scale


def stored(root: Path, suite: str) -> tuple[str, ...]:
    """Names of the baselines of a suite, in order."""
    return tuple(sorted(found.parent.name for found in (root / suite).glob(f"*/{_JSON}")))


def load(
    root: Path, suite: str, name: str, *, suite_option: str = "", others: Sequence[str] = ()
) -> Baseline:
    """Read a baseline.

    Args:
        name: `"base"`, or what was accepted.
        suite_option: What `--wanlora-suite` takes, for the next command of an error; the name when left out.
        others: Names of the suite's baselines that lie elsewhere, for the same.

    Raises:
        BaselineError: There is none, it is of another schema, damaged, or its two files do not belong
            together.
    """
    place = folder(root, suite, name)
    again = update_command(suite_option or suite, name)
    if not (place / _JSON).exists():
        raise _missing(place, suite, name, again, sorted({*stored(root, suite), *others}))
    found = _read_twice(place, suite, name, again)
    if found.name != name:
        raise BaselineError(
            f"{place / _JSON}: it is the baseline {found.name!r}; allowed here: {name!r}", next_command=again
        )
    _require_seal(found, place, again)
    return found


def _missing(place: Path, suite: str, name: str, again: str, known: Sequence[str]) -> BaselineError:
    """The error for a baseline that is not there: another one is meant, or the model is to be measured."""
    message = f"{place}: there is no baseline {name!r} of suite {suite!r}"
    if (link := dangling(place / _JSON)) is not None:
        return BaselineError(f"{message}: {link}", next_command=listing(place / _JSON))
    near = difflib.get_close_matches(name, known, n=1) if name != "base" else []
    message += f"; did you mean {near[0]}?" if near else ""
    message += f"\nStored for this suite: {', '.join(known)}." if known else ""
    if name == "base":
        return BaselineError(message, next_command=again)
    meant = near[0] if near else known[0] if known and "base" not in known else "base"
    # a checkpoint that is gated is nothing to measure itself by
    return BaselineError(message, options={"--wanlora-baseline": meant})


def load_folder(place: Path, suite: str, *, name: str = "base") -> Baseline:
    """Read the baseline of a folder, whatever its name, as `load` does; `name` is for errors."""
    again = listing(place)
    found = _read_twice(place, suite, name, again)
    _require_seal(found, place, again)
    return found


def _require_seal(found: Baseline, place: Path, again: str) -> None:
    if found.schema_version > 1 and found.seal != seal_of(found.model_dump(mode="json")):
        raise BaselineError(
            f"{place / _JSON}: its seal does not fit what it says: it was edited or damaged; "
            "allowed: as it was written",
            next_command=again,
        )


def _read_twice(place: Path, suite: str, name: str, again: str) -> Baseline:
    try:
        return _read(place, suite, name, again)
    except _ReplacedError:
        # an update has removed the old features between the reading of the two files
        return _read(place, suite, name, again)


class _ReplacedError(BaselineError):
    """The features that the JSON names are not there."""


def _read(place: Path, suite: str, name: str, again: str) -> Baseline:
    path = place / _JSON
    try:
        data = read_regular(path)
    except FileNotFoundError:
        why = "" if (link := dangling(path)) is None else f": {link}"
        raise BaselineError(
            f"{place}: there is no baseline {name!r} of suite {suite!r}{why}", next_command=again
        ) from None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}", next_command=again) from error
    document = _parsed(path, data, again)
    if document["suite"] != suite:
        raise BaselineError(
            f"{path}: it is of suite {document['suite']!r}; allowed here: {suite!r}", next_command=again
        )
    sha256 = document["features_sha256"]
    file = features_file(place, sha256) if document["schema_version"] > 1 else place / _OLD_FEATURES
    features, frames = _read_features(file, sha256, document["scores"], again)
    digest = hashlib.sha256(data).hexdigest()
    return Baseline(**document, features=features, frames=frames, digest=digest)


def _parsed(path: Path, data: bytes, again: str) -> dict[str, Any]:
    """The checked fields of a baseline's JSON."""
    try:
        raw = parse_json(data)
    except ValueError as error:
        raise BaselineError(f"{path}: not JSON: {error}", next_command=again) from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int or version not in _VERSIONS:
        raise BaselineError(
            f"{path}: schema_version is {str(version)[:80]}; allowed: {', '.join(map(str, _VERSIONS))}",
            next_command=again,
        )
    try:
        checked = Baseline.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BaselineError(f"{path}: {': '.join(first_error(error))}", next_command=again) from error
    metrics = {frozenset(scores) for by_seed in checked.scores.values() for scores in by_seed.values()}
    if len(metrics) != 1:
        raise BaselineError(
            f"{path}: scores: {'no video' if not metrics else 'videos with different metrics'}; allowed: "
            "the same metrics for every video",
            next_command=again,
        )
    return {
        name: getattr(checked, name)
        for name in Baseline.model_fields
        if name not in ("features", "frames", "digest")
    }


def features_file(place: Path, sha256: str) -> Path:
    """Where a baseline keeps its features; another measurement has another file."""
    return place / f"features-{sha256[:16]}.safetensors"


def seal_of(document: Mapping[str, Any]) -> str:
    """Digest of everything in a baseline's JSON but the seal itself."""
    return json_sha256({name: value for name, value in _stated(document).items() if name != "seal"})


def _stated(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without `insisted` where nobody had to: baselines of before it are the same to the byte."""
    return {name: value for name, value in document.items() if name != "insisted" or value is not None}


def _read_features(
    path: Path, sha256: str, scores: Mapping[str, Mapping[int, object]], again: str
) -> tuple[dict[tuple[str, int], NDArray[np.float32]], dict[tuple[str, int], NDArray[np.float32]]]:
    try:
        data = read_regular(path, largest=_LARGEST_FEATURES)
    except OSError as error:
        kind = _ReplacedError if isinstance(error, FileNotFoundError) else BaselineError
        raise kind(f"{path}: cannot be read: {error.strerror}", next_command=again) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BaselineError(
            f"{path}: sha256 is {found}, {_JSON} beside it says {sha256}: the two do not belong together",
            next_command=again,
        )
    try:
        tensors = safetensors.numpy.load(data)
    except SafetensorError as error:
        raise BaselineError(f"{path}: not a safetensors file: {error}", next_command=again) from error
    features: dict[tuple[str, int], NDArray[np.float32]] = {}
    frames: dict[tuple[str, int], NDArray[np.float32]] = {}
    for scenario, by_seed in scores.items():
        rows = tensors.get(scenario, np.empty((0, 0), np.float32))
        embedded = tensors.get(f"{scenario}{_FRAMES}")
        for array, axes in ((rows, 2), *(() if embedded is None else ((embedded, 3),))):
            if array.ndim != axes or len(array) != len(by_seed) or not np.isfinite(array).all():
                raise BaselineError(
                    f"{path}: {scenario}: shape {array.shape}; allowed: {len(by_seed)} rows of finite values",
                    next_command=again,
                )
        seeds = [(scenario, seed) for seed in sorted(by_seed)]
        features |= zip(seeds, rows, strict=True)
        if embedded is not None:
            frames |= zip(seeds, embedded.astype(np.float32), strict=True)
    return features, frames


def write(
    baseline: Baseline, root: Path, *, videos: Mapping[tuple[str, int], Path] | None = None
) -> Baseline:
    """Write a baseline: the features under a name of their own, then the JSON, whose rename is the commit.

    A crash before that leaves the old baseline as it was, without its videos at worst; one after it leaves
    the new one. There are never videos of another measurement beside the numbers.

    Args:
        baseline: With features for exactly the videos that have scores.
        videos: Scenario and seed to an mp4 that is kept beside the numbers, for people.

    Returns:
        The baseline as it will be loaded, with its digests.

    Raises:
        BaselineError: Scores and features are of different videos, or the folder cannot be written.
    """
    measured = {(scenario, seed) for scenario, by_seed in baseline.scores.items() for seed in by_seed}
    if measured != set(baseline.features):
        odd = sorted(measured ^ set(baseline.features))
        raise BaselineError(f"baseline {baseline.name}: scores and features differ, first in {odd[0]}")
    stacked = {
        scenario: np.stack([baseline.features[scenario, seed] for seed in baseline.seeds(scenario)])
        for scenario in sorted(baseline.scores)
    }
    tensors = {scenario: np.ascontiguousarray(rows, dtype=np.float32) for scenario, rows in stacked.items()}
    if baseline.frames:
        # an embedding has the length 1, of which half precision keeps three digits
        tensors |= {
            f"{scenario}{_FRAMES}": np.stack(
                [baseline.frames[scenario, seed] for seed in baseline.seeds(scenario)]
            ).astype(np.float16)
            for scenario in sorted(baseline.scores)
        }
    for scenario, rows in tensors.items():
        if not np.isfinite(rows).all():
            raise BaselineError(f"baseline {baseline.name}: features of {scenario} are not finite")
    features = safetensors.numpy.save(tensors, metadata={"format": _FORMAT})
    sha256 = hashlib.sha256(features).hexdigest()
    complete = baseline.model_copy(update={"schema_version": SCHEMA_VERSION, "features_sha256": sha256})
    complete = complete.model_copy(update={"seal": seal_of(complete.model_dump(mode="json"))})
    document = json.dumps(
        _sorted(_stated(complete.model_dump(mode="json"))), indent=1, ensure_ascii=False, allow_nan=False
    )
    data = f"{document}\n".encode()
    place = folder(root, baseline.suite, baseline.name)
    try:
        with pictures.replacing(place, videos or {}) as withdraw_old:
            write_whole(features_file(place, sha256), features)
            withdraw_old()
            write_whole(place / _JSON, data)
        _remove_replaced(place, sha256)
    except OSError as error:
        raise BaselineError(
            f"{place}: cannot be written: {error.strerror}; allowed: a folder that you may write to, as "
            "--wanlora-baselines-dir names it",
            next_command=listing(place),
        ) from error
    return complete.model_copy(update={"digest": hashlib.sha256(data).hexdigest()})


def _remove_replaced(place: Path, sha256: str) -> None:
    """Remove the features of earlier measurements, and what processes left that died."""
    kept = {features_file(place, sha256).name, *_named_features(place)}
    for path in place.glob("features*.safetensors"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    for path in place.iterdir():
        if _LEFT.fullmatch(path.name) and path.lstat().st_mtime < time.time() - _LEFT_SECONDS:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _named_features(place: Path) -> Iterator[str]:
    """The features of the JSON that is there now: another process may have written it since."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        yield features_file(place, parse_json(read_regular(place / _JSON))["features_sha256"]).name


def _sorted(value: object) -> object:
    """The same with every mapping in order: seeds by number, all else by name."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (0, int(key), "") if str(key).isdigit() else (1, 0, str(key)))
        return {key: _sorted(value[key]) for key in keys}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
