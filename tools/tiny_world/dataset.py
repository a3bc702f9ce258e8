"""Write a training set in the form that DiffSynth trains on.

``python -m tools.tiny_world.dataset --out data/urban --samples 1000 --share urban=0.8,nature=0.07,... --seed
1`` makes a folder of lossless videos (FFV1, so that nothing but the model is to blame for what a LoRA learns)
and ``metadata.csv`` with the columns ``video`` and ``prompt``. With ``--captions-only`` it makes the same
file without the videos.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from tools.tiny_world.draw import choose, draw
from tools.tiny_world.factors import CATEGORIES, caption, split

FRAME_RATE = 8


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write frames without loss.

    Args:
        path: Target, ``.mkv``.
        frames: uint8 RGB, shape (frames, height, width, 3).

    Raises:
        OSError: OpenCV could not open the file.
    """
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), FRAME_RATE, (width, height))
    if not writer.isOpened():
        raise OSError(f"cannot write {path}")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def read_video(path: str) -> np.ndarray:
    """Frames of a video file, uint8 RGB of shape (frames, height, width, 3)."""
    capture, frames = cv2.VideoCapture(path), []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    if not frames:
        raise OSError(f"no frame in {path}")
    return np.stack(frames)


def parse_share(text: str) -> dict[str, float]:
    """``urban=0.8,nature=0.2`` -> shares by category; they must sum to 1."""
    shares = {name: float(value) for name, _, value in (part.partition("=") for part in text.split(","))}
    if set(shares) - set(CATEGORIES) or abs(sum(shares.values()) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(
            f"{text!r}: shares of {', '.join(CATEGORIES)} that sum to 1 are needed"
        )
    return shares


def write_dataset(
    folder: Path, samples: int, shares: dict[str, float], seed: int, *, videos: bool = True
) -> None:
    """Write ``samples`` videos with their captions, categories mixed in random order.

    Args:
        folder: Made if need be.
        samples: Rows of the metadata, up to the rounding of the shares.
        shares: By category, with the sum 1.
        seed: The same seed gives the same captions, with the videos or without.
        videos: Whether to write the videos too.
    """
    (folder / "videos" if videos else folder).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    rows = []
    for name, share in shares.items():
        count = round(samples * share)
        combinations = choose(name, count, seed, split(name, "train"))
        for start in range(0, count, 100):
            part = combinations[start : start + 100]
            files = [f"videos/{name}-{start + number:04d}.mkv" for number in range(len(part))]
            if videos:
                for file, frames in zip(files, draw(name, part, 1000 * seed + start).numpy(), strict=True):
                    write_video(folder / file, frames)
            for file, combination in zip(files, part, strict=True):
                rows.append((file, caption(name, combination, int(generator.integers(4)))))
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("video", "prompt"))
        writer.writerows(rows[index] for index in generator.permutation(len(rows)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--share", type=parse_share, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--captions-only", action="store_true", help="write no videos")
    arguments = parser.parse_args()
    write_dataset(
        arguments.out, arguments.samples, arguments.share, arguments.seed, videos=not arguments.captions_only
    )


if __name__ == "__main__":
    main()
