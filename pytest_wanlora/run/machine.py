"""What a suite takes of a machine: GPU memory, disk, downloads; and whether this one has it."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.environment import gpu_memory
from pytest_wanlora.phrases import number_of
from pytest_wanlora.run.findings import Finding
from pytest_wanlora.run.inputs import Download, ModelFiles

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Suite

_GIB: Final = 2**30
#: Bytes a pixel of a video in the cache, most of it the preview: 0.73 for pure noise, which compresses worst.
_BYTES_A_PIXEL: Final = 0.75


def video_bytes(suite: Suite) -> int:
    """Bytes that a rendered video takes in the cache at most."""
    sampling = suite.sampling
    return int(_BYTES_A_PIXEL * sampling.frames * sampling.height * sampling.width) + 2**16


def needs(suite: Suite, files: ModelFiles) -> Iterator[str]:
    """The GPU and the downloads that a suite takes, for who has neither here and rents a machine for it."""
    least = suite.model.least_gpu_memory
    if least is not None:
        # its comments are for people; the suite is the same without them
        with suppress(OSError, UnicodeDecodeError):
            sizes = re.findall(r"^# (\d+) GB:", suite.path.read_text(encoding="utf-8"), re.MULTILINE)
            named = (
                f"; the first lines of {suite.path} name settings for {', '.join(sizes)} GB" if sizes else ""
            )
            yield f"gpu: {least:g} GiB of memory or more, for the suite as it is written{named}"
    elif files.absent:
        yield f"gpu: suite {suite.name} does not state how much memory it takes (model.least_gpu_memory)"
    if files.absent:
        known = [each.size for each in files.downloads if each.size is not None]
        parts = [f"{sum(known) / 1e9:.1f} GB"] if known else []
        if unknown := len(files.absent) - len(known):
            parts.append(f"{number_of(unknown, 'part')} of the suite of a size that is not known here")
        yield f"to be fetched, and room for it on the disk: {' and '.join(parts)}"


def gpu_memory_of(
    suite: Suite, files: ModelFiles, environment: Environment, *, number: int, cpu_named: bool
) -> Iterator[Finding]:
    """A GPU that is too small for a suite, or none where one is needed.

    Args:
        suite: What is gated on.
        files: What is on this disk.
        environment: On what it will be rendered.
        number: Of the GPU, among the visible ones.
        cpu_named: See `Request`.
    """
    memory = gpu_memory(number) if environment.device == "cuda" else None
    needed, least = files.weight_bytes(environment.dtype), suite.model.least_gpu_memory
    if least is not None and environment.device == "cpu" and not cpu_named:
        yield Finding(
            "gpu memory",
            f"no GPU is visible; suite {suite.name} needs one with {least:g} GiB of memory as it is written "
            f"({suite.where('model.least_gpu_memory')}); allowed: such a GPU, or --wanlora-device cpu, where "
            "a video takes hours",
            "nvidia-smi",
        )
    if memory is None:
        return
    total, free = memory
    # what a driver reports is a little less than the round number that a card is sold with
    if least is not None and total < 0.97 * least * _GIB:
        yield Finding(
            "gpu memory",
            f"{environment.device_name}: {total / _GIB:.1f} GiB of memory; suite {suite.name} needs "
            f"{least:g} as it is written ({suite.where('model.least_gpu_memory')}); allowed: a copy of it "
            "with the settings for a smaller GPU, which its first lines name",
            f"head -n 20 {shlex.quote(str(suite.path))}",
        )
        return
    if needed is None or suite.model.vram_limit is not None:
        return
    if needed <= (total if free is None else free):
        return
    held = "" if free is None else f", {free / _GIB:.1f} GiB of them free"
    fits = needed <= total
    other = "less else on the GPU" if fits else "model.vram_limit, in GiB, with sampling.compile: false"
    yield Finding(
        "gpu memory",
        f"{environment.device_name}: {total / _GIB:.1f} GiB of memory{held}; the weights of the denoiser and "
        f"the VAE alone take {needed / _GIB:.1f} GiB in {environment.dtype}; allowed: {other}",
        "nvidia-smi" if fits else suite.show("model"),
    )


def disk(
    suite: Suite, downloads: Sequence[Download], cache_dir: Path, videos: int, free: int | None
) -> Iterator[Finding]:
    """Disks without room for what is downloaded and rendered.

    Args:
        suite: What is gated on.
        downloads: Files that will be fetched.
        cache_dir: Where results are kept.
        videos: How many are rendered at most.
        free: Bytes that are free there.
    """
    needed: dict[Path, int] = {}
    for folder, size in [(each.folder, each.size or 0) for each in downloads] + [
        (cache_dir, videos * video_bytes(suite))
    ]:
        place = _existing(folder)
        # folders of one disk share its free space
        same = next((known for known in needed if _device(known) == _device(place)), place)
        needed[same] = needed.get(same, 0) + size
    for place, size in needed.items():
        room = free if _device(place) == _device(_existing(cache_dir)) else free_bytes(place)
        if room is not None and size > room:
            yield Finding(
                "disk",
                f"{place}: {room / 1e9:.1f} GB are free on this disk, and the run needs about "
                f"{size / 1e9:.1f} GB; allowed: fewer results and downloads on it, or folders of a larger "
                "disk, with --wanlora-cache-dir and DIFFSYNTH_MODEL_BASE_PATH",
                "python -m pytest_wanlora clean",
            )


def free_bytes(folder: Path) -> int | None:
    """Bytes that are free where a folder is, or will be; None where that cannot be told."""
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(each for each in (absolute, *absolute.parents) if each.exists())


def _device(place: Path) -> int:
    return place.stat().st_dev
