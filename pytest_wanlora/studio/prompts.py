"""Prompt embeddings on the disk: the text encoder is half of what would be loaded, for 30 ms of work."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from filelock import FileLock

from pytest_wanlora.files import json_sha256, write_whole
from pytest_wanlora.suite import identity

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Suite

logger = logging.getLogger(__name__)

_NAME = "embedding"
_VERSION = 1
_CANNOT: Final = {"prompt": "used and is encoded again", "unkept": "kept"}

Trouble: TypeAlias = tuple[str, str, str]
"""What could not be read (`"prompt"`) or kept (`"unkept"`): the kind for `jobs.board`, file and reason."""


class PromptStore:
    """Embeddings by prompt, remembered by this process and, given a folder, by all later ones.

    An embedding's file is named after everything that its numbers depend on: the text encoder, the tokenizer,
    the prompt, and the environment that computed it. So reading one gives the bits that computing it would.

    Args:
        folder: Where they are stored; None stores none.
        encode: Loads the text encoder and encodes prompts, each to (1, L, D).
        troubles: Gets what could not be read or kept.
    """

    def __init__(
        self,
        suite: Suite,
        environment: Environment,
        *,
        device: str,
        folder: Path | None,
        encode: Callable[[list[str]], Iterable[Tensor]],
        troubles: list[Trouble],
    ) -> None:
        self.device = device
        self.folder = folder
        self._encode = encode
        self._troubles = troubles
        self._known: dict[str, Tensor] = {}
        self._made_by = {
            "version": _VERSION,
            "text_encoder": identity(suite, "model.text_encoder"),
            "tokenizer": identity(suite, "model.tokenizer"),
            "environment": environment.identity(),
        }

    def __call__(self, prompt: str) -> Tensor:
        """The embedding of a prompt, (1, L, D), on the device."""
        self.prepare([prompt])
        return self._known[prompt]

    def prepare(self, prompts: Iterable[str]) -> None:
        """Load these prompts' embeddings from the disk and encode the others together."""
        wanted = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if not self._missing(wanted):
            return
        with self._alone():
            # another process may have encoded them while this one waited
            missing = self._missing(wanted)
            if missing:
                for prompt, embedding in zip(missing, self._encode(missing), strict=True):
                    self._known[prompt] = embedding.to(self.device)
                    self._write(prompt, embedding)

    def _missing(self, wanted: Iterable[str]) -> list[str]:
        missing = []
        for prompt in wanted:
            embedding = self._read(prompt)
            if embedding is None:
                missing.append(prompt)
            else:
                self._known[prompt] = embedding
        return missing

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time load the text encoder, so that the others can read its embeddings."""
        if self.folder is None:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as error:
            self._trouble("unkept", self.folder, error)
            self.folder = None
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _path(self, prompt: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{json_sha256({**self._made_by, 'prompt': prompt})}.safetensors"

    def _read(self, prompt: str) -> Tensor | None:
        from safetensors import SafetensorError, safe_open

        path = self._path(prompt)
        if path is None or not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                embedding: Tensor = file.get_tensor(_NAME)
                stated = (file.metadata() or {}).get("sha256")
            if _sha256(embedding) != stated:
                raise ValueError("it does not fit its digest")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            self._trouble("prompt", path, error)
            return None
        return embedding.to(self.device)

    def _write(self, prompt: str, embedding: Tensor) -> None:
        from safetensors.torch import save

        path = self._path(prompt)
        if path is None:
            return
        kept = embedding.detach().cpu().contiguous()
        try:
            write_whole(path, save({_NAME: kept}, metadata={"sha256": _sha256(kept)}))
        except OSError as error:
            self._trouble("unkept", path, error)

    def _trouble(self, kind: str, path: Path, error: Exception) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        found = (kind, str(path), why)
        # a file is read again by who has waited for another process
        if found not in self._troubles:
            logger.warning("%s: the prompt's embedding cannot be %s: %s", path, _CANNOT[kind], why)
            self._troubles.append(found)


def _sha256(embedding: Tensor) -> str:
    import torch

    return hashlib.sha256(embedding.view(torch.uint8).numpy().tobytes()).hexdigest()
