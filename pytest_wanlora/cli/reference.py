"""`python -m pytest_wanlora reference`: make a suite's reference set from real videos.

What is wrong with the arguments or with a video is said before any features are computed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.cli import output
from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import listing, unused
from pytest_wanlora.phrases import number_of
from pytest_wanlora.scoring.frechet import EVERY, fewest_videos, replaceable, write_reference
from pytest_wanlora.scoring.videos import ENDINGS, find_sets, fitted, read_frames

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

#: Videos a category from which on a set describes the category rather than its own videos.
RECOMMENDED: Final = 256
_SHOWN = 20
_STEPS = 10  # progress lines a pass

Extract = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Say = Callable[[str], object]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command; its `run_command` is a function from the arguments to an exit code."""
    parser = commands.add_parser(
        "reference",
        help="make a suite's reference set from real videos",
        description=(
            "Makes the features of real videos that fvd and kvd are measured against. A video's first frames "
            "are taken, as many as the suite renders, and scaled and cut to the suite's size as in training. "
            f"{RECOMMENDED} videos a category or more are recommended."
        ),
    )
    parser.add_argument("--suite", required=True, metavar="NAME|FILE")
    parser.add_argument(
        "--videos",
        required=True,
        type=Path,
        metavar="FOLDER",
        help=f"a folder for each category, or videos for the single set {EVERY}; {' '.join(ENDINGS)}",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a .safetensors file; default: the suite's scoring.reference",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.add_argument("--skip-short", action="store_true", help="leave videos out that have too few frames")
    parser.add_argument(
        "--every", type=_positive, default=1, metavar="N", help="take every Nth frame; default: 1, each"
    )
    parser.add_argument(
        "--device", default="auto", help="where the network runs; default: a GPU if there is one"
    )
    parser.add_argument(
        "--baselines-dir",
        type=Path,
        default=Path("baselines"),
        metavar="FOLDER",
        help="where baselines:FILE of a suite lies; default: baselines",
    )
    parser.set_defaults(run_command=_run)


@dataclass(frozen=True)
class Chosen:
    """The videos that a reference set is made of.

    Attributes:
        sets: Category (or `all`) -> its videos.
        height: Of the suite, pixels.
        width: Of the suite, pixels.
        resized: How many videos have another size than the suite's.
        short: Messages about those left out because they have too few frames.
    """

    sets: Mapping[str, tuple[Path, ...]]
    frames: int
    height: int
    width: int
    every: int
    resized: int
    short: tuple[str, ...]

    @property
    def count(self) -> int:
        """Videos of all sets."""
        return sum(map(len, self.sets.values()))

    def video(self, path: Path) -> NDArray[np.uint8]:
        """The frames of one video as they are measured, uint8 (frames, height, width, 3), RGB."""
        return fitted(read_frames(path, self.frames, every=self.every), self.height, self.width)


def check_videos(folder: Path, suite: Suite, *, every: int, skip_short: bool, say: Say) -> Chosen:
    """Read the frames of every video and refuse those that cannot be part of a reference set.

    Args:
        folder: See `videos.find_sets`.
        skip_short: Leave out videos with too few frames instead of refusing them.
        say: Gets a line of progress now and then.

    Raises:
        ScoringError: A category has no folder, or fewer videos are left of it than the suite's gate needs;
            videos cannot be decoded, are degenerate or too short: all of them are named, up to 20.
    """
    # cv2 is not needed to build a parser
    from pytest_wanlora.scoring.frames import degenerate

    sets = find_sets(folder)
    _require_categories(folder, sets, suite)
    sampling = suite.sampling
    needed = (sampling.frames - 1) * every + 1
    total = sum(map(len, sets.values()))
    kept: dict[str, tuple[Path, ...]] = {}
    short: list[str] = []
    bad: list[str] = []
    resized = looked_at = 0
    for name, paths in sets.items():
        fit: list[Path] = []
        for path in paths:
            video = read_frames(path, sampling.frames, every=every)
            looked_at += 1
            _progress(say, "looked at", looked_at, total)
            shown = path.relative_to(folder)
            if not len(video):
                bad.append(f"{shown}: no frame of it can be decoded")
            elif len(video) < sampling.frames:
                short.append(f"{shown}: has fewer than the {needed} frames that are needed")
            elif problem := degenerate(fitted(video, sampling.height, sampling.width)):
                bad.append(f"{shown}: {problem}")
            else:
                fit.append(path)
                resized += video.shape[1:3] != (sampling.height, sampling.width)
        kept[name] = tuple(fit)
    _refuse(folder, bad, [] if skip_short else short, total)
    used = {name if name in kept else EVERY for name in (each.category for each in suite.scenarios)}
    fewest, any_set = fewest_videos(suite.tolerances), fewest_videos(())
    few = [
        f"{name} has {len(paths)}"
        for name, paths in kept.items()
        if len(paths) < (fewest if name in used else any_set)
    ]
    if few:
        why = ", as the suite compares fvd" if fewest > any_set else ""
        raise ScoringError(
            f"{folder}: too few videos: {', '.join(few)}; allowed: {fewest} or more a category{why}",
            next_command=listing(folder),
        )
    return Chosen(kept, sampling.frames, sampling.height, sampling.width, every, resized, tuple(short))


def features(
    chosen: Chosen, extract: Extract, *, say: Say = lambda _: None
) -> dict[str, NDArray[np.float32]]:
    """Measure the videos, one at a time.

    Returns:
        Category (or `all`) -> float32 (videos, D), in the order of the files' names.
    """
    rows: dict[str, NDArray[np.float32]] = {}
    measured = 0
    for name, paths in chosen.sets.items():
        found = []
        for path in paths:
            found.append(extract(chosen.video(path)))
            measured += 1
            _progress(say, "measured", measured, chosen.count)
        rows[name] = np.stack(found)
    return rows


def _run(arguments: argparse.Namespace) -> int:
    from pytest_wanlora import suite as suites
    from pytest_wanlora.scoring.video_features import load_extractor
    from pytest_wanlora.scoring.weights import fetch

    suite = suites.load(arguments.suite, baselines=arguments.baselines_dir)
    place = _output(arguments.output, suite, overwrite=arguments.overwrite)
    settings = suite.scoring.video_features
    extract = load_extractor(settings, device=_device(arguments.device))
    digest = fetch(settings.weights, settings.sha256, "scoring.video_features.weights").sha256
    chosen = check_videos(
        arguments.videos,
        suite,
        every=arguments.every,
        skip_short=arguments.skip_short,
        say=_to_stderr,
    )
    rows = features(chosen, extract, say=_to_stderr)
    sha256 = write_reference(place, rows, frames=chosen.frames, extractor_sha256=digest)
    output.say(_summary(place, chosen, suite, sha256))
    return output.OK


def _output(named: Path | None, suite: Suite, *, overwrite: bool) -> Path:
    """Where to write, refused before any work if that cannot be."""
    stated = suite.scoring.reference
    if named is None and stated.startswith(("package:", "hub:")):
        raise ScoringError(
            f"{suite.where('scoring.reference')}: scoring.reference is {stated}, which is not written here; "
            "allowed: --output with a file, which a suite of your own names as scoring.reference",
            options={"--output": "reference.safetensors"},
        )
    output = Path(stated) if named is None else named
    if output.suffix != ".safetensors" or output.is_dir():
        kind = "a folder" if output.is_dir() else f"named {output.suffix or 'without an ending'}"
        raise ScoringError(
            f"--output: {output} is {kind}; allowed: a .safetensors file",
            options={
                "--output": str(
                    output / "reference.safetensors"
                    if output.is_dir()
                    else output.with_suffix(".safetensors")
                )
            },
        )
    if not replaceable(output):
        named_by = suite.where("scoring.reference") if named is None else "--output"
        raise ScoringError(
            f"{named_by}: {output} exists and is no reference set; allowed: a new file, or a set to replace; "
            "the suite names it as scoring.reference",
            options={"--output": str(unused(output))},
        )
    if output.exists() and not overwrite:
        raise ScoringError(
            f"{output} exists; allowed: another one with --output, or this one with --overwrite",
            options={"--overwrite": True},
        )
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ScoringError(
            f"{output} cannot be written: {above} is not a folder that you may write to",
            next_command=f"ls -ld {shlex.quote(str(above))}",
        )
    return output


def _device(named: str) -> str:
    import torch

    from pytest_wanlora.scoring.determinism import require_device

    device = named
    if named == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    require_device(device)
    return device


def _require_categories(folder: Path, sets: Mapping[str, object], suite: Suite) -> None:
    wanted = dict.fromkeys(scenario.category for scenario in suite.scenarios)
    missing = [name for name in wanted if name not in sets and EVERY not in sets]
    if missing:
        raise ScoringError(
            f"{folder}: no folder for {', '.join(missing)} of suite {suite.name}; it has {', '.join(sets)}; "
            f"allowed: one of that name, or one named {EVERY} for categories without their own",
            next_command=listing(folder),
        )


def _refuse(folder: Path, bad: list[str], short: list[str], total: int) -> None:
    if not bad and not short:
        return
    lines = [*bad, *short]
    shown = [f"  {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"  and {len(lines) - _SHOWN} more")
    head = f"{folder}: {len(lines)} of {number_of(total, 'video')} cannot be part of a reference set"
    if bad:
        raise ScoringError("\n".join([head, *shown]), next_command=listing(folder))
    raise ScoringError("\n".join([head, *shown]), options={"--skip-short": True})


def _summary(output: Path, chosen: Chosen, suite: Suite, sha256: str) -> Iterable[str]:
    size = f"{chosen.width}x{chosen.height}"
    yield f"wrote {output}: {number_of(chosen.count, 'video')}, {chosen.frames} frames of {size} each"
    used = {scenario.category for scenario in suite.scenarios}
    for name, paths in chosen.sets.items():
        unused = "" if name in used or name == EVERY else f"; no scenario of suite {suite.name} is of it"
        yield f"  {name}: {len(paths)}{unused}"
    if chosen.resized:
        videos, were = number_of(chosen.resized, "video"), "was" if chosen.resized == 1 else "were"
        yield f"{videos} of another size {were} scaled to cover {size} and cut to the middle"
    if chosen.short:
        were = "was" if len(chosen.short) == 1 else "were"
        yield f"{number_of(len(chosen.short), 'video')} {were} left out, too short:"
        yield from (f"  {line}" for line in chosen.short[:_SHOWN])
        if len(chosen.short) > _SHOWN:
            yield f"  and {len(chosen.short) - _SHOWN} more"
    few = [name for name, paths in chosen.sets.items() if len(paths) < RECOMMENDED]
    if few:
        have = "has" if len(few) == 1 else "have"
        yield f"note: {RECOMMENDED} videos a category or more are recommended; {', '.join(few)} {have} fewer"
    yield "in the suite, under scoring:"
    if str(output.absolute()) != str(Path(suite.scoring.reference).absolute()):
        yield f"  reference: {output.absolute()}"
    yield f"  reference_sha256: {sha256}"


def _progress(say: Say, word: str, done: int, total: int) -> None:
    if done == total or done % max(1, -(-total // _STEPS)) == 0:
        say(f"{word} {done} of {number_of(total, 'video')}")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
