"""Find the files of a scorer and prove that they are the ones the suite means."""

from __future__ import annotations

import glob
import shlex
from dataclasses import dataclass
from pathlib import Path

from pytest_wanlora.errors import ScoringError, SuiteError
from pytest_wanlora.scoring import frechet
from pytest_wanlora.suite import Scoring, resolve
from pytest_wanlora.suite.digests import digest


@dataclass(frozen=True)
class ScorerFile:
    """A file on the disk and its digest.

    Attributes:
        repository: `<owner>/<name>` if it came from the Hugging Face Hub.
    """

    path: Path
    sha256: str
    repository: str | None = None


def fetch(location: str, sha256: str, key: str) -> ScorerFile:
    """Find a scorer's file and compare its digest with the suite's.

    Args:
        location: A path; `package:<path inside pytest_wanlora>`; or `hub:<owner>/<name>:<file>`, with
            `@<commit>` behind the name if it is pinned: a file of the Hugging Face Hub, which is downloaded
            into its cache when it is not there yet. Nothing else is ever downloaded.
        sha256: The digest that the suite states; empty if it states none.
        key: The suite's key of the location, such as `"scoring.clip.weights"`, for the message.

    Raises:
        ScoringError: No such file, with the command that fetches it; unreadable; another digest.
    """
    try:
        reference = resolve(location, key=key)
    except SuiteError as error:
        name = Path(location.removeprefix("package:")).name
        command: str | None = f"hf download <owner>/<name> {name} --local-dir <folder of {key}>"
        if glob.has_magic(name) or Path(location).exists():
            command = error.next_command
        if location.startswith("package:"):
            command = "pip install --force-reinstall pytest-wanlora"
        raise ScoringError(error.message, next_command=command) from error
    repository = reference.hub_id
    if repository is not None and reference.pattern is not None:
        path = _download(repository, reference.pattern, key, reference.revision)
    else:
        (path,) = reference.paths
    return ScorerFile(path, _checked_digest(path, sha256, key), repository)


def load_reference(scoring: Scoring) -> frechet.Reference:
    """Load a suite's reference set.

    Raises:
        ScoringError: It is missing, unreadable, empty, another than the suite states, or made by another
            network than the suite's.
    """
    file = fetch(scoring.reference, scoring.reference_sha256, "scoring.reference")
    features = scoring.video_features
    network = fetch(features.weights, features.sha256, "scoring.video_features.weights")
    return frechet.read_reference(file.path, sha256=file.sha256, extractor_sha256=network.sha256)


def summary(error: Exception) -> str:
    """Return the first lines of another library's error on one line; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:3]) if lines else type(error).__name__


def _download(repository: str, filename: str, key: str, revision: str | None) -> Path:
    # to import it takes as long as the import of numpy, and most suites name files of this disk
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ScoringError(
            f"{key}: hub:{repository}:{filename} cannot be fetched: {summary(error)}",
            next_command=f"hf download {repository} {filename}",
        ) from error


def _checked_digest(path: Path, sha256: str, key: str) -> str:
    try:
        found = digest(path)
    except OSError as error:
        raise ScoringError(
            f"{key}: {path} cannot be read: {error.strerror}", next_command=f"ls -l {shlex.quote(str(path))}"
        ) from error
    if sha256 and found != sha256.lower():
        raise ScoringError(
            f"{key}: {path} has SHA-256 {found}, the suite states {sha256}: another file, or a damaged one",
            next_command=f"sha256sum {shlex.quote(str(path))}",
        )
    return found
