"""Distances between two sets of video features, and the reference set that a suite is measured against.

Pure NumPy in float64; no torch, so the decision may use it without loading a model. Each distance raises
`ScoringError` for too few rows, unequal dimensions D, or a value that is not finite.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import listing, open_regular, parse_json, read_regular, write_whole
from pytest_wanlora.phrases import number_of

#: Name of the set that serves every category.
EVERY = "all"
#: Videos of a set that `fvd` is compared on: two subsets of it must be distances.
FEWEST_COMPARED: Final = 4
_REFERENCE_FORMAT = "wanlora-reference-1"
# bytes of a header that says little more than the names of categories
_LONGEST_HEADER = 2**20


@dataclass(frozen=True)
class Reference:
    """The features of true videos that `fvd` and `kvd` are measured against.

    A file holds one set a category, under the category's name, or a single set `all` for every category.

    Attributes:
        sets: Category -> float64 (m, D), read-only.
        frames: Frames a video; both sides of a distance must have as many.
        extractor_sha256: Digest of the weights that made the features.
    """

    sets: Mapping[str, NDArray[np.float64]]
    frames: int
    extractor_sha256: str
    sha256: str

    def name_for(self, category: str) -> str:
        """Name of the set that a category is measured against.

        Raises:
            ScoringError: The file has neither a set of that name nor one for every category.
        """
        for name in (category, EVERY):
            if name in self.sets:
                return name
        raise ScoringError(
            f"scoring.reference has no set for the category {category!r}; it has {', '.join(self.sets)}",
            next_command="python -m pytest_wanlora reference --help",
        )

    def unfit(self, categories: Mapping[str, Sequence[str]], *, frames: int, fewest: int) -> Iterator[str]:
        """Say why videos cannot be measured against it; nothing where they can.

        Args:
            categories: Those that are rendered, with the ids of their scenarios.
            frames: Of a rendered video.
            fewest: Videos that a set must have.
        """
        lacking = {name: of for name, of in categories.items() if not {name, EVERY} & self.sets.keys()}
        if lacking:
            named = ", ".join(f"{category} (of {', '.join(ids)})" for category, ids in lacking.items())
            yield f"has no videos of the category {named}; it has {', '.join(self.sets)}"
        used = dict.fromkeys(self.name_for(name) for name in categories if name not in lacking)
        if few := {name: len(self.sets[name]) for name in used if len(self.sets[name]) < fewest}:
            named = ", ".join(f"{name} of {count}" for name, count in few.items())
            yield f"has too few videos, {named}; allowed: {fewest} or more, as the suite compares fvd"
        if self.frames != frames:
            yield f"was made of {self.frames} frames a video; allowed: {frames}, the suite's sampling.frames"

    def pooled(self, names: Iterable[str]) -> NDArray[np.float64]:
        """Rows of the named sets together, (m, D); a name that comes twice counts once."""
        return np.concatenate([self.sets[name] for name in dict.fromkeys(names)])


def fewest_videos(compared: Container[str]) -> int:
    """How many videos a reference set must have, by the metrics that a suite compares.

    A limit alone needs one distance, which 2 videos are enough for.
    """
    return FEWEST_COMPARED if "fvd" in compared else 2


def frechet_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features.

    |mean_a - mean_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)), covariances with 1 / (n - 1)
    (Unterthiner 2018, "Towards Accurate Generative Models of Video"). With centred rows A and B the last
    trace is the sum of the singular values of A B^T / sqrt((n - 1)(m - 1)): the non-zero eigenvalues of
    A^T A B^T B are the squares of those singular values. That holds for any n, m and D, needs no matrix
    square root of a singular matrix, and costs a singular value decomposition of at most
    min(n, D) x min(m, D).

    The estimate is biased upwards for few samples, the more the fewer; compare only values of equal n.

    Args:
        a: (n, D), n >= 2.
        b: (m, D), m >= 2.

    Returns:
        0 or more. Equal sets give 0 to rounding (1e-12 of the trace).
    """
    a, b = _pair(a, b)
    offset = a.mean(axis=0) - b.mean(axis=0)
    root_a, root_b = _centred_root(a), _centred_root(b)
    cross = float(np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum())
    value = float(offset @ offset) + float((root_a**2).sum() + (root_b**2).sum()) - 2.0 * cross
    # the exact value is never negative; rounding leaves about -1e-13 for equal sets
    return max(value, 0.0)


def pairwise_kernel(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Polynomial kernel (x . y / D + 1)^3 of every row of one set with every row of another.

    The kernel of the kernel distances KID (Binkowski 2018, "Demystifying MMD GANs") and KVD. Taken once over
    the stacked sets, it serves every relabelling of a permutation test.

    Args:
        x: (n, D), n >= 1.
        y: (m, D), m >= 1.

    Returns:
        float64 (n, m).
    """
    x, y = _pair(x, y, at_least=1)
    return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)


def unbiased_mmd(
    within_a: NDArray[np.float64], within_b: NDArray[np.float64], between: NDArray[np.float64]
) -> float:
    """Unbiased squared maximum mean discrepancy from kernel matrices (Gretton 2012, lemma 6).

    Args:
        within_a: Kernel of set a with itself, (n, n), n >= 2. Its diagonal is left out.
        within_b: Kernel of set b with itself, (m, m), m >= 2.
        between: Kernel of set a with set b, (n, m).

    Returns:
        About 0 for two samples of one distribution, and then negative about half of the time.
    """
    n, m = between.shape
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2.0 * between.mean()
    )


def kernel_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Kernel video distance: unbiased squared MMD with the kernel of `pairwise_kernel`.

    Without the bias that few samples give `frechet_distance`; its values for different n may be compared.

    Args:
        a: (n, D), n >= 2.
        b: (m, D), m >= 2.
    """
    a, b = _pair(a, b)
    return unbiased_mmd(pairwise_kernel(a, a), pairwise_kernel(b, b), pairwise_kernel(a, b))


def set_scores(features: NDArray[Any], reference: NDArray[Any]) -> Mapping[str, float]:
    """Set scores of videos against the reference set, always with both counts.

    Args:
        features: (n, D), one row a video, n >= 2.
        reference: (m, D), m >= 2.

    Returns:
        `fvd`, `kvd`, `n` and `reference_n`.
    """
    return {
        "fvd": frechet_distance(features, reference),
        "kvd": kernel_distance(features, reference),
        "n": float(len(features)),
        "reference_n": float(len(reference)),
    }


def read_reference(path: Path, *, sha256: str, extractor_sha256: str | None) -> Reference:
    """Read a reference set and check that it is the one the suite means.

    Args:
        path: A file that `write_reference` wrote.
        sha256: The digest that the suite states for it; empty if it states none.
        extractor_sha256: Digest of the weights that will make the other side's features; None where that is
            not known yet.

    Raises:
        ScoringError: No such file, unreadable, another digest, empty, of another extractor, or holding values
            that are not finite.
    """
    try:
        data = read_regular(path, largest=2**30)
    except OSError as error:
        raise _reference_error(path, f"cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise _reference_error(path, f"has sha256 {found}, the suite's scoring.reference_sha256 is {sha256}")
    try:
        tensors = safetensors.numpy.load(data)
    except SafetensorError as error:
        raise _reference_error(path, f"is not a safetensors file: {error}") from error
    # the header is valid once the tensors have loaded; reading it here keeps to the bytes that were hashed
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return _checked_reference(path, tensors, header.get("__metadata__", {}), found, extractor_sha256)


def replaceable(path: Path) -> bool:
    """Whether nothing but a reference set is lost where one is written to a path."""
    if not path.exists():
        return True
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(length) if length <= _LONGEST_HEADER else b"")
    except (OSError, ValueError):
        return False
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(metadata, dict) and metadata.get("format") == _REFERENCE_FORMAT


def write_reference(
    path: Path, sets: Mapping[str, NDArray[Any]], *, frames: int, extractor_sha256: str
) -> str:
    """Write a reference set for `read_reference`: equal sets give equal files, byte for byte.

    Args:
        sets: Category (or `all`) -> (m, D), m >= 2, one row a video; stored as float32.
        extractor_sha256: Digest of the weights that made the features.

    Returns:
        The file's SHA-256, for the suite's `scoring.reference_sha256`.

    Raises:
        ScoringError: Fewer than two rows, a value that is not finite, or a file that cannot be written.
    """
    rows = {
        name: np.ascontiguousarray(_rows(of, f"the reference set {name}", at_least=2).astype(np.float32))
        for name, of in sets.items()
    }
    metadata = {
        "format": _REFERENCE_FORMAT,
        "count": str(sum(map(len, rows.values()))),
        "frames": str(frames),
        "extractor_sha256": extractor_sha256,
    }
    data = _canonical(safetensors.numpy.save(rows, metadata))
    try:
        write_whole(path, data)
    except OSError as error:
        raise ScoringError(
            f"{path} cannot be written: {error.strerror or error}", next_command=listing(path)
        ) from error
    return hashlib.sha256(data).hexdigest()


def _canonical(data: bytes) -> bytes:
    """The same safetensors file with its header in one order: safetensors' own differs between processes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = header.encode()
    # the format wants the data to start at a multiple of 8, and allows blanks for it
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def _checked_reference(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    sha256: str,
    extractor_sha256: str | None,
) -> Reference:
    if metadata.get("format") != _REFERENCE_FORMAT:
        raise _reference_error(
            path, f"has format {metadata.get('format')!r}, allowed is {_REFERENCE_FORMAT!r}"
        )
    if not tensors:
        raise _reference_error(path, "holds no set of features")
    made_by = metadata.get("extractor_sha256", "")
    if extractor_sha256 is not None and made_by != extractor_sha256:
        raise _reference_error(
            path,
            f"was made by video features of sha256 {made_by or 'unknown'}, "
            f"the suite's scoring.video_features.sha256 is {extractor_sha256}",
        )
    sets = {
        name: _rows(of, f"the reference set {name} of {path}", at_least=2) for name, of in tensors.items()
    }
    if len(widths := sorted({rows.shape[1] for rows in sets.values()})) > 1:
        what = " and ".join(map(str, widths))
        raise _reference_error(path, f"has features of {what} dimensions, allowed is one number for all")
    held = sum(map(len, sets.values()))
    if metadata.get("count") != str(held):
        raise _reference_error(path, f"says it holds {metadata.get('count')} videos and holds {held}")
    frames = metadata.get("frames", "")
    if not frames.isdecimal():
        raise _reference_error(path, f"has frames {frames!r}, allowed is a number")
    for rows in sets.values():
        rows.flags.writeable = False
    return Reference(sets, int(frames), made_by, sha256)


def _reference_error(path: Path, what: str) -> ScoringError:
    return ScoringError(
        f"scoring.reference: {path} {what}", next_command="python -m pytest_wanlora reference --help"
    )


def _pair(
    a: NDArray[Any], b: NDArray[Any], *, at_least: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a = _rows(a, "the first set", at_least=at_least)
    b = _rows(b, "the second set", at_least=at_least)
    if a.shape[1] != b.shape[1]:
        raise ScoringError(f"features of {a.shape[1]} and of {b.shape[1]} dimensions cannot be compared")
    return a, b


def _rows(features: NDArray[Any], what: str, *, at_least: int) -> NDArray[np.float64]:
    rows = np.array(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ScoringError(f"{what} has shape {rows.shape}, allowed is (videos, dimensions)")
    if len(rows) < at_least:
        raise ScoringError(
            f"{what} holds features of {number_of(len(rows), 'video')}, at least {at_least} are needed"
        )
    if not np.isfinite(rows).all():
        bad = [str(row) for row in np.flatnonzero(~np.isfinite(rows).all(axis=1))]
        raise ScoringError(f"{what} holds NaN or infinite features in rows {', '.join(bad[:5])}")
    return rows


def _centred_root(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R with R^T R = covariance of the rows; at most D rows of it."""
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    if centred.shape[0] > centred.shape[1]:
        centred = np.linalg.qr(centred, mode="r")
    return np.asarray(centred)
