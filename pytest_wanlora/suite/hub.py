"""Files of the Hugging Face Hub that a suite names: which are on this disk, and what the others weigh.

Nothing is downloaded here. The model's files are where DiffSynth puts them, the scorers' in the hub's cache.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from pytest_wanlora.suite.files import FileReference

#: Seconds that the hub has to answer; a request's own limit does not hold for looking up the hub's address.
_PATIENCE: Final = 5.0
_TIMEOUT: Final = 4.0
_SHARD: Final = re.compile(r"-[0-9]{5}-of-([0-9]{5})\.safetensors$")

#: File name to bytes, or why the hub does not tell.
Listing = Mapping[str, int] | str


def folder_of(reference: FileReference) -> Path:
    """The folder below which a hub reference is kept.

    DiffSynth keeps a model's files below DIFFSYNTH_MODEL_BASE_PATH, or ./models.
    """
    if reference.key.startswith("model."):
        return Path(os.environ.get("DIFFSYNTH_MODEL_BASE_PATH", "models")) / str(reference.hub_id)
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def local_files(reference: FileReference) -> tuple[Path, ...]:
    """Find what this disk has of a hub reference.

    Args:
        reference: Of kind `"hub"`.

    Returns:
        Its files, or one folder, sorted; empty where the file, or a shard of it, is missing.
    """
    assert reference.hub_id is not None
    assert reference.pattern is not None
    if not reference.key.startswith("model."):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(reference.hub_id, reference.pattern)
        return (Path(found),) if isinstance(found, str) else ()
    folder = folder_of(reference)
    if reference.pattern.endswith("/"):
        inner = folder / reference.pattern
        return (inner,) if inner.is_dir() and any(inner.iterdir()) else ()
    paths = tuple(sorted(folder.glob(reference.pattern)))
    totals = {int(shard[1]) for path in paths if (shard := _SHARD.search(path.name))}
    return paths if all(len(paths) >= total for total in totals) else ()


def fetch_command(reference: FileReference) -> str:
    """What to type to download a hub reference to where it is looked for."""
    if not reference.key.startswith("model."):
        return f"hf download {reference.hub_id} {reference.pattern}"
    pattern = f"{reference.pattern}*" if str(reference.pattern).endswith("/") else reference.pattern
    return f"hf download {reference.hub_id} --include '{pattern}' --local-dir {folder_of(reference)}"


def sizes(repositories: Iterable[str]) -> dict[str, Listing]:
    """Ask the hub for the files of repositories, all at once and for a few seconds at most.

    Args:
        repositories: `OWNER/NAME` each.

    Returns:
        By repository, the bytes of every file, or in words why they are not known.
    """
    found: dict[str, Listing] = {}

    def ask(name: str) -> None:
        found[name] = _listing(name)

    threads = [
        # daemons: a lookup that hangs must not keep the process from ending
        (name, threading.Thread(target=ask, args=(name,), name="wanlora-hub", daemon=True))
        for name in dict.fromkeys(repositories)
    ]
    deadline = time.monotonic() + _PATIENCE
    for _, thread in threads:
        thread.start()
    for _, thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: found.get(name, f"the hub does not answer within {_PATIENCE:g} s") for name, _ in threads}


def matching(listing: Mapping[str, int], pattern: str) -> dict[str, int]:
    """The files of a repository that a file, glob or folder (ending in `/`) names."""
    if pattern.endswith("/"):
        return {name: size for name, size in listing.items() if name.startswith(pattern)}
    return {name: size for name, size in listing.items() if fnmatchcase(name, pattern)}


def _listing(repository: str) -> Listing:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        found = HfApi().model_info(repository, files_metadata=True, timeout=_TIMEOUT)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except RepositoryNotFoundError:
        return "the hub has no such repository, or it asks for a login (hf auth login)"
    except HfHubHTTPError as error:
        return f"the hub answers {error.response.status_code}"
    except Exception as error:  # noqa: BLE001 - the hub's client changes its errors; all mean the same here
        return f"the hub cannot be reached ({type(error).__name__})"
    return {each.rfilename: each.size or 0 for each in found.siblings or ()}
