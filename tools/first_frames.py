"""Draw the first frames of the packaged image-to-video suites: `python -m tools.first_frames FOLDER`.

Three pictures of 832x480, drawn from rectangles, ellipses and noise with a fixed seed: a street at night, a
cherry tree, a runner. They belong to this project and have its licence.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 832, 480


def _sky(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return Image.fromarray(np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.uint8))


def street() -> Image.Image:
    """A city street at night, with neon signs and a car."""
    rng = np.random.default_rng(1)
    picture = _sky((8, 8, 24), (30, 20, 48))
    draw = ImageDraw.Draw(picture)
    neon = [(255, 60, 90), (60, 220, 255), (190, 90, 255), (255, 200, 80)]
    for side in (-1, 1):
        for depth in range(6):
            near, far = 416 * 0.62**depth, 416 * 0.62 ** (depth + 1)
            left, right = sorted((416 + side * near, 416 + side * far))
            top = 250 - 260 * 0.66**depth
            draw.rectangle((left, top, right, 300), fill=(18 + 4 * depth, 18 + 4 * depth, 30 + 5 * depth))
            for _ in range(9):
                x, y = rng.uniform(left, right), rng.uniform(max(top, 0), 270)
                width, height = (right - left) * rng.uniform(0.08, 0.25), 6 + 24 * 0.66**depth
                draw.rectangle((x, y, min(x + width, right), y + height), fill=neon[rng.integers(4)])
    draw.polygon([(0, HEIGHT), (360, 290), (472, 290), (WIDTH, HEIGHT)], fill=(22, 22, 30))
    mirror = (
        picture.crop((0, 100, WIDTH, 290))
        .transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        .filter(ImageFilter.GaussianBlur(6))
    )
    mask = Image.new("L", (WIDTH, 190), 90)
    picture.paste(mirror, (0, 290), mask)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((380, 320, 452, 368), 10, fill=(70, 12, 18))
    for x in (388, 432):
        draw.ellipse((x, 342, x + 14, 354), fill=(255, 250, 210))
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def tree() -> Image.Image:
    """A cherry tree in bloom on a meadow."""
    rng = np.random.default_rng(2)
    picture = _sky((96, 160, 230), (206, 228, 248))
    draw = ImageDraw.Draw(picture)
    for left, top in ((120, 70), (560, 50), (700, 110)):
        for step in range(4):
            place = (left + 34 * step, top - 8 * (step % 2), left + 34 * step + 76, top + 34)
            draw.ellipse(place, fill=(240, 246, 252))
    draw.rectangle((0, 330, WIDTH, HEIGHT), fill=(84, 150, 66))
    for _ in range(900):
        x, y = rng.uniform(0, WIDTH), rng.uniform(332, HEIGHT)
        draw.line((x, y, x + rng.uniform(-3, 3), y - 9), fill=(60, int(rng.uniform(110, 190)), 50))
    draw.polygon([(392, 380), (412, 230), (436, 230), (458, 380)], fill=(92, 62, 44))
    for _ in range(1500):
        angle, radius = rng.uniform(0, 2 * np.pi), float(np.sqrt(rng.uniform()))
        x, y = 424 + 200 * radius * math.cos(angle), 170 + 110 * radius * math.sin(angle)
        size = rng.uniform(5, 12)
        shade = int(rng.uniform(150, 205))
        draw.ellipse((x, y, x + size, y + size), fill=(248, shade, int(shade * 1.08)))
    for _ in range(60):
        x, y = rng.uniform(200, WIDTH), rng.uniform(240, 460)
        draw.ellipse((x, y, x + 6, y + 4), fill=(246, 176, 196))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def runner() -> Image.Image:
    """A runner on a red track, from the side."""
    picture = _sky((120, 170, 220), (214, 226, 236))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 200, WIDTH, 270), fill=(90, 96, 110))
    for x in range(0, WIDTH, 14):
        draw.rectangle((x, 206 + 7 * (x % 3), x + 8, 214 + 7 * (x % 3)), fill=(150, 110 + x % 90, 90))
    draw.rectangle((0, 270, WIDTH, 300), fill=(70, 140, 60))
    draw.rectangle((0, 300, WIDTH, HEIGHT), fill=(176, 62, 48))
    for y in (330, 372, 424):
        draw.rectangle((0, y, WIDTH, y + 4), fill=(240, 236, 230))
    skin, shirt, shorts = (176, 122, 92), (240, 206, 40), (30, 40, 70)
    draw.line((396, 292, 440, 352), fill=skin, width=16)
    draw.line((440, 352, 420, 404), fill=skin, width=13)
    draw.line((384, 292, 352, 342), fill=skin, width=16)
    draw.line((352, 342, 306, 350), fill=skin, width=13)
    draw.polygon([(372, 262), (412, 262), (418, 308), (366, 308)], fill=shorts)
    draw.polygon([(384, 180), (424, 186), (414, 268), (370, 264)], fill=shirt)
    draw.line((412, 200, 452, 232), fill=skin, width=12)
    draw.line((452, 232, 474, 204), fill=skin, width=10)
    draw.line((392, 200, 352, 226), fill=skin, width=12)
    draw.line((352, 226, 340, 258), fill=skin, width=10)
    draw.ellipse((392, 134, 432, 178), fill=skin)
    draw.pieslice((390, 130, 434, 172), 180, 360, fill=(40, 28, 22))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("pytest_wanlora/suites/frames"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (street, tree, runner):
        # half size and few colours: the suites scale it to what they render
        small = draw().resize((WIDTH // 2, HEIGHT // 2)).quantize(64, dither=Image.Dither.NONE)
        small.save(folder / f"{draw.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
