"""What a run reads, as this machine has it: model files, scorers, input images; whole, or what is missing."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safetensors import SafetensorError

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.checkpoint.container import read_header, wrong_size
from pytest_wanlora.errors import SuiteError, WanloraError
from pytest_wanlora.jobs.job import image_sha256, input_image
from pytest_wanlora.suite import (
    hub,
    other_weights,
    references,
    refuse_repeated,
    resolve,
    stated,
    stated_at,
    verify,
)
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.files import inner_path, inside_package, stated_for
from pytest_wanlora.suite.pictures import read_picture

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.container import Entry
    from pytest_wanlora.suite import FileReference, Scenario, Suite

PACKAGE: Final = inside_package("package:").absolute()
_BYTES: Final = {"bfloat16": 2, "float32": 4}
_ON_THE_GPU: Final = ("model.dit", "model.experts.", "model.vae", "model.image_encoder")


@dataclass(frozen=True)
class Problem:
    """A file that is missing or not the one that is meant.

    Attributes:
        key: Dotted key of the suite.
        message: What is wrong.
        next_command: What to type next.
    """

    key: str
    message: str
    next_command: str


@dataclass(frozen=True)
class Download:
    """Files of the hub that will be fetched when they are needed.

    Attributes:
        key: Dotted key of the suite.
        text: The reference.
        folder: Where they will be kept.
        size: Bytes; None where the source does not tell.
    """

    key: str
    text: str
    folder: Path
    size: int | None

    @property
    def words(self) -> str:
        """`model.vae: hub:..., 2.8 GB`."""
        size = "of unknown size" if self.size is None else f"{self.size / 1e9:.2f} GB"
        return f"{self.key}: {self.text}, {size}, to {self.folder}"


class ModelFiles:
    """Looks for every file of a suite; nothing is downloaded.

    Args:
        suite: Names the files.
        whole: Whether files must be readable and hub files must be there; without it, local files only have
            to exist and have the stated digests, which is what a fingerprint needs.
        answers: What the hub has answered, which is added to; see `hub.sizes`.

    Attributes:
        found: Dotted key to the files on this disk.
        problems: All that is wrong, in the order of the suite.
        downloads: What will be fetched.
        absent: Keys of hub files that are not on this disk, whether or not they can be fetched here.
    """

    def __init__(self, suite: Suite, *, whole: bool, answers: dict[str, hub.Listing] | None = None) -> None:
        self.suite = suite
        self._answers = answers
        self.found: dict[str, Sequence[Path]] = {}
        self.problems: tuple[Problem, ...] = ()
        self.downloads: tuple[Download, ...] = ()
        self.absent: tuple[str, ...] = ()
        missing: list[FileReference] = []
        problems: dict[str, Problem] = {}
        keys = list(references(suite))
        for key, text in keys:
            where = suite.where(key)
            try:
                reference = resolve(text, key=key, where=where)
                paths = reference.paths if reference.hub_id is None else hub.local_files(reference)
                if reference.hub_id is not None and not paths:
                    missing.append(reference)
                    continue
                if reference.hub_id is not None:
                    hub.require_revision(reference, paths)
                verify(paths, stated(suite, key, text), key=key, where=where)
                # every producer needs a picture for the key of its job
                if whole or key.startswith("scenarios"):
                    _require_whole(paths, key, suite)
                self.found[key] = paths
            except SuiteError as error:
                problems[key] = Problem(key, error.message, self._command(error, key, text))
        self.absent = tuple(each.key for each in missing)
        if whole:
            self._settle(missing, problems)
            self._refuse_other_weights(problems)
        self.problems = tuple(problems[key] for key, _ in keys if key in problems)

    def digest(self, key: str) -> str | None:
        """SHA-256 of a key's single file, the stated one first; None where it is not known."""
        text = dict(references(self.suite))[key]
        known = stated_for(Path(inner_path(text)), stated(self.suite, key, text))
        if known:
            return known
        paths = self.found.get(key, ())
        return digest(paths[0]) if len(paths) == 1 and paths[0].is_file() else None

    def weight_bytes(self, dtype: str) -> int | None:
        """Bytes of the denoiser's and the VAE's weights in a precision; None where a file is not there."""
        away = "model.experts.low." if self.suite.model.resident_experts == 1 else "never"
        every = [key for key, _ in references(self.suite) if key.startswith(_ON_THE_GPU)]
        keys = [key for key in every if not key.startswith(away)]
        if any(key not in self.found for key in keys):
            return None
        with contextlib.suppress(SafetensorError, OSError, ValueError):
            values = sum(
                math.prod(entry.shape)
                for key in keys
                for path in self.found[key]
                for entry in read_header(path, path.stat().st_size)[0].values()
            )
            return values * _BYTES[dtype]
        return None

    def _command(self, error: WanloraError, key: str, text: str) -> str:
        suite = self.suite
        if not text.startswith("package:"):
            return error.next_command or suite.show(key)
        if PACKAGE not in suite.path.parents:
            # the file came with the package, and the suite that names it is the user's
            if not inside_package(text).exists():
                return suite.show(key)
            if stated(suite, key, text):
                return suite.show(stated_at(suite, key, text))
        return "pip install --force-reinstall --no-deps pytest-wanlora"

    def _refuse_other_weights(self, problems: dict[str, Problem]) -> None:
        """Find parts of the model whose files have a tensor in common, or are something else."""
        parts: dict[str, list[str]] = {}
        for key in self.found:
            parts.setdefault(key.partition("[")[0], []).append(key)
        for part, keys in parts.items():
            if not part.startswith(_ON_THE_GPU) and part != "model.text_encoder":
                continue
            last, paths = keys[-1], [path for key in keys for path in self.found[key]]
            where = self.suite.where(last)
            try:
                refuse_repeated(paths, key=part, where=where, next_command=self.suite.show(last))
                self._refuse_another_part(part, paths, where)
            except SuiteError as error:
                problems[last] = Problem(last, error.message, self._command(error, last, ""))

    def _refuse_another_part(self, part: str, paths: Sequence[Path], where: str) -> None:
        entries: dict[str, Entry] = {}
        # what cannot be read is a problem of its own
        with contextlib.suppress(SafetensorError, OSError, ValueError):
            for path in paths:
                entries |= read_header(path, path.stat().st_size)[0]
        if wrong := other_weights(self.suite.model.architecture, part.rpartition(".")[2], entries):
            raise SuiteError(
                f"{where}: {part}: {paths[0]}: {wrong}",
                next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(paths[0]))}"
                if wrong.startswith("a LoRA")
                else None,
            )

    def _settle(self, missing: Sequence[FileReference], problems: dict[str, Problem]) -> None:
        """Tell what can be fetched from what cannot."""
        asked = [each for each in missing if _reason_offline(each) is None and not _elsewhere(each)]
        listings = hub.sizes((str(each.hub_id) for each in asked), self._answers)
        downloads = []
        for each in missing:
            listing = _reason_offline(each) or listings.get(str(each.hub_id), {})
            folder = hub.folder_of(each)
            if _elsewhere(each) and not isinstance(listing, str):
                downloads.append(Download(each.key, each.text, folder, None))
                continue
            if not isinstance(listing, str):
                files = hub.matching(listing, str(each.pattern))
                if files:
                    downloads.append(Download(each.key, each.text, folder, sum(files.values())))
                    continue
                listing = "the repository has no such file"
            problems[each.key] = Problem(
                each.key,
                f"{each.key}: {each.text}: not on this disk, and cannot be fetched: {listing}",
                hub.fetch_command(each),
            )
        self.downloads = tuple(downloads)


def prompts(suite: Suite, scenarios: Iterable[Scenario]) -> dict[str, Prompt]:
    """What scenarios are rendered from, as baselines store it.

    Raises:
        WanloraError: An input image is missing or cannot be read.
    """
    found = {}
    for scenario in scenarios:
        image = input_image(suite, scenario)
        found[scenario.id] = Prompt(
            category=scenario.category,
            prompt=scenario.prompt,
            caption=scenario.clip_caption,
            input_image_sha256=None if image is None else image_sha256(image),
        )
    return found


def _elsewhere(reference: FileReference) -> bool:
    """Whether DiffSynth will fetch a file from ModelScope, which is not asked for sizes."""
    source = os.environ.get("DIFFSYNTH_DOWNLOAD_SOURCE", "huggingface").lower()
    return reference.key.startswith("model.") and source == "modelscope"


def _reason_offline(reference: FileReference) -> str | None:
    skipped = os.environ.get("DIFFSYNTH_SKIP_DOWNLOAD", "").lower() == "true"
    if reference.key.startswith("model.") and skipped:
        return "DIFFSYNTH_SKIP_DOWNLOAD is set"
    return None


def _require_whole(paths: Sequence[Path], key: str, suite: Suite) -> None:
    where, size = suite.where(key), (suite.sampling.width, suite.sampling.height)
    for path in _weights(paths):
        try:
            read_header(path, path.stat().st_size)
        except (SafetensorError, OSError, ValueError) as error:
            raise SuiteError(
                f"{where}: {key}: {path}: not a whole safetensors file: "
                f"{wrong_size(path, path.stat().st_size) or error}; allowed: one that is copied or fetched "
                "again",
                next_command=f"sha256sum {shlex.quote(str(path))}",
            ) from error
    for path in paths:
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            try:
                read_picture(path, size)
            except SuiteError as error:
                raise SuiteError(
                    f"{where}: {key}: {error.message}", next_command=error.next_command
                ) from error
        elif path.is_file() and not os.access(path, os.R_OK):
            raise SuiteError(
                f"{where}: {key}: {path}: cannot be read", next_command=f"ls -l {shlex.quote(str(path))}"
            )


def _weights(paths: Sequence[Path]) -> Iterator[Path]:
    yield from (path for path in paths if path.suffix.lower() == ".safetensors" and path.is_file())
