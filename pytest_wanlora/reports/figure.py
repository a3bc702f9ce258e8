"""One picture of a run for chat and pull requests: frames of the baseline above those of each checkpoint."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageDraw, ImageFont

from pytest_wanlora.reports import sentences, trend
from pytest_wanlora.reports.html_first import in_words, telling
from pytest_wanlora.reports.html_previews import frames_of
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.i18n import title_of, value_of

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import Video
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.verdict.judgement import Judgement

_FRAMES: Final = 5
_MOST_CHECKPOINTS: Final = 4
_MOST_SCENARIOS: Final = 3
# pixels
_WIDTH: Final = 220
_GAP, _MARGIN = 4, 24
_LEAST_LEFT, _MOST_LEFT = 150, 320
_INK, _SOFT, _RED, _GREEN = "#1b1c1e", "#585d66", "#b3261e", "#18754a"


def png(record: RunRecord, folder: Path) -> bytes | None:
    """Draw the worst pair of each scenario that fails, else of the run, with what is wrong and the verdict.

    Args:
        record: The run.
        folder: Of the run; preview paths are relative to it.

    Returns:
        The file; None where no preview can be read. Letters that the built-in font lacks are drawn as boxes.
    """
    rows = []
    for judged in telling(record)[:_MOST_SCENARIOS]:
        strips = [
            (name, value_of(judged.metric, video.scores.get(judged.metric)), _chosen(folder, video))
            for name, video in _sides(record, judged)
        ]
        shown = [each for each in strips if each[2]]
        if any(name for name, _, _ in shown):
            rows.append((judged, shown))
    if not rows:
        return None
    heights = [[_height(frames[0]) for _, _, frames in shown] for _, shown in rows]
    longest = max(_font(15).getlength(name) for _, shown in rows for name, _, _ in shown)
    left = min(max(int(longest) + 12, _LEAST_LEFT), _MOST_LEFT)
    inner = left + _FRAMES * (_WIDTH + _GAP)
    width = 2 * _MARGIN + inner
    height = 2 * _MARGIN + 76 + sum(36 + sum(h + _GAP for h in of) for of in heights)
    picture = Image.new("RGB", (width, height), "#fbfbf9")
    draw = ImageDraw.Draw(picture)
    able = [card for card in record.candidates if card.publishable]
    _write(draw, _MARGIN, _title(record), _GREEN if able else _RED, 26, inner)
    _write(draw, _MARGIN + 38, f"{record.suite.name}, {record.run_id}", _SOFT, 14, inner)
    y = _MARGIN + 76
    for (judged, shown), of in zip(rows, heights, strict=True):
        where = "" if judged.worst is None else f"{judged.worst.scenario}, seed {judged.worst.seed}"
        said = f"{label(judged.candidate)}: {in_words(judged, 'en')}"
        _write(draw, y, f"{label(where)}   {said}", _INK, 16, inner)
        y += 28
        for (name, value, frames), tall in zip(shown, of, strict=True):
            _write(draw, y + tall / 2 - 20, name or "baseline", _INK, 15, left - 12)
            if judged.metric:
                _write(draw, y + tall / 2 + 2, title_of(judged.metric), _SOFT, 13, left - 12)
                _write(draw, y + tall / 2 + 17, value, _SOFT, 13, left - 12)
            for at, frame in enumerate(frames):
                small = frame.resize((_WIDTH, tall))
                picture.paste(small, (_MARGIN + left + at * (_WIDTH + _GAP), y))
            y += tall + _GAP
        y += 8
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def _title(record: RunRecord) -> str:
    if len(record.candidates) == 1:
        return sentences.verdict_text(record, record.candidates[0], "en", label).rstrip(".")
    best = trend.best(record)
    return (sentences.best_advice(best, "en", label) or "No checkpoint may be published").rstrip(".")


def _write(draw: ImageDraw.ImageDraw, y: float, text: str, colour: str, size: int, width: int) -> None:
    """Write a line from the margin on; what is too long loses its middle, since names end in the strength."""
    font, shown = _font(size), text
    for kept in range(len(text) - 1, 0, -1):
        if font.getlength(shown) <= width:
            break
        shown = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    draw.text((_MARGIN, y), shown, colour, font=font)


def _font(size: int) -> Any:  # noqa: ANN401 - one of two types, by how Pillow was built
    return ImageFont.load_default(size)


def _height(frame: Image.Image) -> int:
    return max(1, round(_WIDTH * frame.height / frame.width))


def _sides(record: RunRecord, judged: Judgement) -> list[tuple[str, Video]]:
    """The baseline's video under an empty name, then those of the checkpoints, of the worst seed."""
    if judged.worst is None:
        return []
    place = (judged.worst.scenario, judged.worst.seed)
    own = {
        "" if video.role == "baseline" else video.candidate: video
        for video in record.videos
        if (video.scenario, video.seed) == place
    }
    others = [card.name for card in record.candidates if card.name != judged.candidate]
    kept = {judged.candidate, *others[: _MOST_CHECKPOINTS - 1]}
    order = ["", *(card.name for card in record.candidates if card.name in kept)]
    return [(name, own[name]) for name in order if name in own]


def _chosen(folder: Path, video: Video) -> list[Image.Image]:
    """Frames evenly over a preview, the first and the last among them; none where it cannot be read."""
    found = [] if video.preview is None else frames_of(folder / video.preview)
    step = (len(found) - 1) / (_FRAMES - 1)
    return [found[at] for at in dict.fromkeys(round(n * step) for n in range(_FRAMES))] if found else []
