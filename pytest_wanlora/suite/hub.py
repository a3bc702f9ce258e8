"""Files of the Hugging Face Hub that a suite names: which are on this disk, and what the others weigh.

Only `fetch` downloads. The model's files are where DiffSynth puts them, the scorers' in the hub's cache.
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

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import read_regular
from pytest_wanlora.suite.files import FileReference

#: Seconds that the hub has to answer; a request's own limit does not hold for looking up the hub's address.
_PATIENCE: Final = 5.0
SOURCE_VARIABLE: Final = "DIFFSYNTH_DOWNLOAD_SOURCE"
"""DiffSynth's own variable; it would take ModelScope where this is not set, and `hub:` means Hugging Face."""
_TIMEOUT: Final = 4.0
_SHARD: Final = re.compile(r"-[0-9]{5}-of-([0-9]{5})\.safetensors$")

#: File name to bytes, or why the hub does not tell.
Listing = Mapping[str, int] | str
_UNREACHED: Final = "the hub cannot be reached"
#: Among answers by repository: why the hub gives none.
_HUB: Final = ""


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

    Returns:
        Its files, or one folder, sorted; empty where the file, or a shard of it, is missing.
    """
    assert reference.hub_id is not None
    assert reference.pattern is not None
    if not reference.key.startswith("model."):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(reference.hub_id, reference.pattern, revision=reference.revision)
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
    pinned = f" --revision {reference.revision}" if reference.revision else ""
    if not reference.key.startswith("model."):
        return f"hf download {reference.hub_id} {reference.pattern}{pinned}"
    pattern = _pattern(reference)
    return f"hf download {reference.hub_id} --include '{pattern}' --local-dir {folder_of(reference)}{pinned}"


def fetch(reference: FileReference) -> tuple[Path, ...]:
    """Download what this disk lacks of a hub reference.

    Returns:
        Its files, or one folder, sorted.

    Raises:
        SuiteError: It cannot be downloaded, or is of another commit than the suite pins.
    """
    found = local_files(reference)
    if not found:
        try:
            _download(reference)
        except Exception as error:
            # the clients of both hubs change their errors; all mean the same here
            why = f"{type(error).__name__}: {error!s:.400}"
            raise SuiteError(
                f"{reference.key}: {reference.text} cannot be fetched: {why}",
                next_command=fetch_command(reference),
            ) from error
        found = local_files(reference)
    if not found:
        raise SuiteError(
            f"{reference.key}: {reference.text}: no such file below {folder_of(reference)}",
            next_command=fetch_command(reference),
        )
    require_revision(reference, found)
    return found


def _download(reference: FileReference) -> None:
    name, folder = str(reference.hub_id), folder_of(reference)
    if not reference.key.startswith("model."):
        from huggingface_hub import hf_hub_download

        hf_hub_download(name, str(reference.pattern), revision=reference.revision)
    elif os.environ.get(SOURCE_VARIABLE, "huggingface").lower() == "huggingface":
        from huggingface_hub import snapshot_download

        snapshot_download(
            name, allow_patterns=_pattern(reference), local_dir=folder, revision=reference.revision
        )
    elif reference.revision is not None:
        raise ValueError(f"a commit of Hugging Face is pinned, and {SOURCE_VARIABLE} names another hub")
    else:
        # a dependency of DiffSynth
        from modelscope import snapshot_download as from_modelscope

        from_modelscope(name, local_dir=str(folder), allow_file_pattern=_pattern(reference))


def require_revision(reference: FileReference, paths: Iterable[Path]) -> None:
    """Check that files are of the commit that a suite pins, where the hub's client has noted theirs.

    Raises:
        SuiteError: They are of another one.
    """
    if reference.revision is None:
        return
    found = revision_of(reference, paths)
    if found != reference.revision:
        here = f"of commit {found}" if found else "of no commit that is known"
        raise SuiteError(
            f"{reference.key}: {reference.text}: the files on this disk are {here}; "
            f"allowed: {reference.revision}, which the suite pins",
            next_command=fetch_command(reference),
        )


def revision_of(reference: FileReference, paths: Iterable[Path]) -> str | None:
    """The commit that all of some files are of, as the hub's client has noted it; None where it did not."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else (path,))]
    visible = [file for file in files if file.is_file()]
    found = {_noted(reference, file) for file in visible}
    return found.pop() if len(found) == 1 else None


def _noted(reference: FileReference, file: Path) -> str | None:
    if not reference.key.startswith("model."):
        # .../snapshots/COMMIT/FILE
        parts = file.parts
        at = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else -1
        return parts[at + 1] if at >= 0 else None
    folder = folder_of(reference)
    note = folder / ".cache" / "huggingface" / "download" / f"{file.relative_to(folder)}.metadata"
    try:
        first = read_regular(note, largest=4096).decode().split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError):
        return None
    return first if re.fullmatch("[0-9a-f]{40}", first) else None


def _pattern(reference: FileReference) -> str:
    return f"{reference.pattern}*" if str(reference.pattern).endswith("/") else str(reference.pattern)


def sizes(repositories: Iterable[str], known: dict[str, Listing] | None = None) -> dict[str, Listing]:
    """Ask the hub for the files of repositories, all at once and for a few seconds at most.

    Args:
        repositories: Their ids.
        known: What it has answered, which is added to: it is asked once for each repository, and for nothing
            more once it does not answer.

    Returns:
        By repository, the bytes of every file, or in words why they are not known: in the same words for all
        where the hub gives no answer.
    """
    names = list(dict.fromkeys(repositories))
    known = {} if known is None else known
    found: dict[str, Listing] = {}

    def ask(name: str) -> None:
        found[name] = _listing(name)

    threads = [
        # daemons: a lookup that hangs must not keep the process from ending
        threading.Thread(target=ask, args=(name,), name="wanlora-hub", daemon=True)
        for name in names
        if name not in known and _HUB not in known
    ]
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"the hub does not answer within {_PATIENCE:g} s"
    told = dict(found)
    answers = {name: each for name, each in told.items() if not str(each).startswith(_UNREACHED)}
    known.update(answers)
    if threads and not answers:
        known[_HUB] = next(iter(told.values()), late)
    return {name: known.get(name, known.get(_HUB, told.get(name, late))) for name in names}


def matching(listing: Mapping[str, int], pattern: str) -> dict[str, int]:
    """The files of a repository that a file, glob or folder (ending in `/`) names."""
    if pattern.endswith("/"):
        return {name: size for name, size in listing.items() if name.startswith(pattern)}
    return {name: size for name, size in listing.items() if name == pattern or fnmatchcase(name, pattern)}


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
        return f"{_UNREACHED} ({type(error).__name__})"
    return {each.rfilename: each.size or 0 for each in found.siblings or ()}
