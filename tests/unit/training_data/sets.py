"""Small training sets for the tests beside this module."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from pytest_wanlora.training_data.rules import packaged_rules
from pytest_wanlora.training_data.survey import Source, Survey, take

CAPTIONS = Path(__file__).parents[2] / "data" / "captions.csv"

URBAN = "A tram crosses the old town at night, number {}."
NATURE = "A waterfall in a forest, number {}."
ACTION = "A gymnast does a somersault, number {}."
OTHER = "A chef kneads dough in the kitchen, number {}."


def prompts(**counts: int) -> list[str]:
    """So many prompts of each category, each with a word of its own so that none is a near duplicate."""
    templates = {"urban": URBAN, "nature": NATURE, "action": ACTION, "other": OTHER}
    return [
        templates[name].format(" ".join(_word(number, place) for place in range(12)))
        for name, count in counts.items()
        for number in range(count)
    ]


def _word(number: int, place: int) -> str:
    """A word without meaning, another one for every number and place."""
    value = (number * 12 + place + 1) * 2654435761 % 2**32
    return "".join("bcdfghjklmnpqrst"[value >> shift & 15] for shift in range(0, 28, 4))


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("video", "prompt")) -> Path:
    """Write a csv and return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_prompts(path: Path, texts: Sequence[str]) -> Path:
    """Write prompts with made-up names of videos, in the format of the path's ending."""
    rows = [(f"clips/{number}.mp4", text) for number, text in enumerate(texts)]
    objects = [{"video": video, "prompt": text} for video, text in rows]
    if path.suffix == ".csv":
        return write_csv(path, rows)
    if path.suffix == ".json":
        path.write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(f"{json.dumps(each)}\n" for each in objects), encoding="utf-8")
    return path


def survey(path: Path, *, check_videos: bool = False, near: bool = True) -> Survey:
    """Survey a file with the packaged rules."""
    return take(Source(path, path.parent, check_videos=check_videos, near=near), packaged_rules())
