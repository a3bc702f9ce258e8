"""How often a copy of a training clip is found, and a fresh video taken for one: on a CPU, some minutes.

``python -m benchmarks.evidence.copies`` draws clips of four subjects of the tiny world, and fresh videos of
the same captions. A planted copy is a clip that was shifted in time, mirrored, cut, lit otherwise, noisy,
blurred, sent through the VAE or a video codec, by random amounts. Then it does the same with frames as
stills, as references are compared with the training. Seeds from 1000 and from 5000 on were looked at by
nobody when the bounds and the search were chosen; `--first 0`, 2000 and 3000 have those of the choice.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.evidence.subject_loras import ASKED, poplars
from pytest_wanlora.run.pictures import SAME_PICTURE, grey_thumbnails, with_mirrored
from pytest_wanlora.scoring.frames import thumbnails
from pytest_wanlora.scoring.videos import read_frames
from pytest_wanlora.studio.previews import write_preview
from pytest_wanlora.tiny.vae import TinyWanVideoVAE38
from pytest_wanlora.verdict import copies
from tools.tiny_world import train_dit
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import SCENARIOS
from tools.tiny_world.training import to_network

Frames = NDArray[np.uint8]
Change = Callable[[Frames, np.random.Generator], Frames]
_CLIPS, _COPIES, _FRESH = 16, 10, 50


def _clipped(values: NDArray[np.floating]) -> Frames:
    return values.clip(0, 255).round().astype(np.uint8)


def cut(video: Frames, rng: np.random.Generator, least: float = 0.8, most: float = 1.0) -> Frames:
    """A part of the picture, of so much of its width and height."""
    height, width = video.shape[1:3]
    size = rng.uniform(least, most)
    rows, columns = int(height * size), int(width * size)
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    part = video[:, top : top + rows, left : left + columns]
    return np.stack([cv2.resize(frame, (width, height)) for frame in part])


def shifted(video: Frames, rng: np.random.Generator) -> Frames:
    """Begun up to four of nine frames later; the last frame stands then."""
    by = int(rng.integers(1, len(video) // 2 + 1))
    return np.concatenate([video[by:], np.repeat(video[-1:], by, axis=0)])


@cache
def _vae() -> TinyWanVideoVAE38:
    return train_dit.load_packaged_vae()


def decoded(video: Frames, rng: np.random.Generator) -> Frames:
    """Through the embedded VAE, as a rendered video is."""
    vae = _vae()
    with torch.no_grad():
        truth = to_network(torch.from_numpy(video[None]))
        made = vae.model.decode(vae.model.encode(truth, vae.scale), vae.scale).clamp(-1, 1)
    return _clipped(((made[0].permute(1, 2, 3, 0) + 1) * 127.5).numpy())


def encoded(video: Frames, rng: np.random.Generator) -> Frames:
    """Through the video codec of previews."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_preview(video, path)
        return read_frames(path, len(video))


def _all(video: Frames, rng: np.random.Generator) -> Frames:
    for name in ("begun later", "mirrored", "cut to 80-100 %", "lit by 0.7-1.2", "noise of 2-10"):
        video = CHANGES[name](video, rng)
    return video


CHANGES: Mapping[str, Change] = {
    "the clip": lambda video, rng: video,
    "begun later": shifted,
    "mirrored": lambda video, rng: np.ascontiguousarray(video[:, :, ::-1]),
    "cut to 80-100 %": cut,
    "cut to 70-80 %": lambda video, rng: cut(video, rng, 0.7, 0.8),
    "lit by 0.7-1.2": lambda video, rng: _clipped(video * rng.uniform(0.7, 1.2)),
    "noise of 2-10": lambda video, rng: _clipped(video + rng.normal(0, rng.uniform(2, 10), video.shape)),
    "blurred by 0.5-2 pixels": lambda video, rng: np.stack(
        [cv2.GaussianBlur(frame, (0, 0), spread) for spread in [rng.uniform(0.5, 2)] for frame in video]
    ),
    "through the codec": encoded,
    "through the VAE": decoded,
    "all but codec, VAE and blur": _all,
}


def _saved(quality: int, part: int) -> Change:
    """As a JPEG of so small a part of its width and height."""

    def change(picture: Frames, rng: np.random.Generator) -> Frames:
        height, width = picture.shape[:2]
        with io.BytesIO() as file:
            Image.fromarray(picture).resize((width // part, height // part)).save(
                file, "JPEG", quality=quality
            )
            return np.asarray(Image.open(file))

    return change


STILLS: Mapping[str, Change] = {
    "a frame": lambda picture, rng: picture,
    "JPEG of quality 60": _saved(60, 1),
    "half the size, JPEG of quality 60": _saved(60, 2),
    "half the size, JPEG of quality 30": _saved(30, 2),
    "a third of the size, JPEG of quality 60": _saved(60, 3),
    "mirrored, half the size, JPEG of quality 60": lambda picture, rng: _saved(60, 2)(picture, rng)[:, ::-1],
    "lit by 0.8-1.15": lambda picture, rng: _clipped(picture * rng.uniform(0.8, 1.15)),
    "a square": lambda picture, rng: np.asarray(Image.fromarray(picture).resize((96, 96))),
    "cut to 80-100 %": lambda picture, rng: cut(picture[None], rng)[0],
}


def stills(clips: Frames, fresh: Frames, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """How alike changed frames of clips, and middle frames of fresh videos, are to a frame of the clips."""
    frames = clips.reshape(-1, *clips.shape[2:])
    every = with_mirrored(grey_thumbnails(frames))
    for name, change in STILLS.items():
        chosen = rng.choice(len(frames), 2 * _COPIES, replace=False)
        yield from ((name, _most(change(frames[each], rng), every)) for each in chosen)
    yield from (("fresh", _most(video[len(video) // 2], every)) for video in fresh)


def _most(picture: Frames, every: NDArray[np.float32]) -> float:
    return float((grey_thumbnails([np.ascontiguousarray(picture)]) @ every.T).max())


def scenes(first: int) -> Mapping[str, Callable[[int, int], Frames]]:
    """By subject: videos of its caption, by number and a seed."""
    known: dict[str, Callable[[int, int], Frames]] = {
        name: lambda count, seed, name=name: draw(
            name, np.array([SCENARIOS[name]] * count), first + seed
        ).numpy()  # type: ignore[misc]  # no default in the type
        for name in ("urban", "nature", "action")
    }
    return {"poplar": lambda count, seed: poplars([ASKED] * count, first + seed), **known}


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    return {f"{part}%": round(float(np.percentile(values, part)), digits) for part in (0, 5, 50, 95, 100)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1000, help="first seed (default: 1000)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng, small = np.random.default_rng(arguments.first), partial(thumbnails, side=copies.SIDE)
    found: dict[str, list[bool]] = {name: [] for name in ("fresh", *CHANGES)}
    alike: dict[str, list[float]] = {}
    for subject, videos in scenes(arguments.first).items():
        clips = videos(_CLIPS, 1)
        planted = [
            (name, change(clips[int(rng.integers(_CLIPS))], rng))
            for name, change in CHANGES.items()
            for _ in range(_COPIES)
        ]
        fresh = videos(_FRESH, 2)
        planted += [("fresh", video) for video in fresh]
        for name, value in stills(clips, fresh, rng):
            alike.setdefault(name, []).append(value)
        nearest = copies.nearest([small(video) for _, video in planted], [small(clip) for clip in clips], 1)
        own: dict[str, list[float]] = {name: [] for name in found}
        for (name, _), each in zip(planted, nearest, strict=True):
            found[name].append(each.share < copies.COPY)
            own[name].append(each.share)
        for name, shares in own.items():
            print(
                json.dumps(
                    {
                        **{"subject": subject, "video": name, "n": len(shares)},
                        "found": round(float(np.mean(np.array(shares) < copies.COPY)), 3),
                        **_spread(shares, 3),
                    }
                ),
                flush=True,
            )
    for name, those in found.items():
        print(json.dumps({"video": name, "n": len(those), "found": round(float(np.mean(those)), 4)}))
    for name, values in alike.items():
        share = float(np.mean(np.array(values) >= SAME_PICTURE))
        told = {"still": name, "n": len(values), "found": round(share, 4)}
        print(json.dumps({**told, **_spread(values, 4)}))


if __name__ == "__main__":
    main()
