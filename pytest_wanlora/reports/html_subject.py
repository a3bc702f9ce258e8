"""What the HTML page shows of a subject: the references, likeness over the frames, and the nearest clip."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from pytest_wanlora.reports import plots
from pytest_wanlora.reports.html_previews import frames_of
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.suite.subject import WITH_TRIGGER

if TYPE_CHECKING:
    from PIL import Image

    from pytest_wanlora.phrases import Language
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.verdict.judgement import Judgement

_SIZE: Final = (160, 160)
_MOST_REFERENCES: Final = 6
_STEPS: Final = 4
_ENDINGS: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True)
class SubjectView:
    """What is shown of one candidate in one scenario.

    Attributes:
        references: Small pictures as addresses.
        curve: Likeness over the frames, of the baseline and with the trigger; None where it was not measured.
        copies: For a video that stands out: its seed, the clip's name, and frames of both as addresses.
    """

    references: tuple[str, ...]
    curve: Markup | None
    copies: tuple[tuple[int, str, tuple[str, ...], tuple[str, ...]], ...]


def subject_of(
    record: RunRecord, folder: Path, candidate: str, scenario: str, language: Language
) -> SubjectView | None:
    """What there is to show; None where no subject was asked for.

    Args:
        record: The run.
        folder: The run's folder; the record names files by their path from it.
        candidate: Name of the checkpoint.
        scenario: Its id.
        language: Of the page.
    """
    known = {
        each.metric: each
        for each in record.judgements
        if (each.kind, each.candidate, each.scenario) == ("question", candidate, scenario)
    }
    told = known.get("likeness")
    if told is None:
        return None
    copies = known.get("copies")
    return SubjectView(
        references=_references(folder, told.details.get("references", ())),
        curve=_curve(told, language),
        copies=() if copies is None else tuple(_copies(record, folder, copies)),
    )


def _curve(judged: Judgement, language: Language) -> Markup | None:
    lines = [_values(judged.details.get(name)) for name in ("baseline_curve", "curve")]
    if not all(lines) or len(lines[0]) != len(lines[1]):
        return None
    return plots.curves(
        lines,
        Html.LIKENESS_CURVE.say(language, name=label(judged.candidate), scenario=label(judged.scenario)),
        Html.LIKENESS_WORDS.say(language, first=lines[1][0], last=lines[1][-1], base=lines[0][0]),
    )


def _values(told: object) -> list[float]:
    """The numbers of a detail; none where it is anything else."""
    return (
        [float(value) for value in told if isinstance(value, float | int)] if isinstance(told, tuple) else []
    )


def _references(folder: Path, names: object) -> tuple[str, ...]:
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, tuple) else []
    shown = (_pictures(folder / name, 1) for name in listed[:_MOST_REFERENCES])
    return tuple(each[0] for each in shown if each)


def _copies(
    record: RunRecord, folder: Path, judged: Judgement
) -> list[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
    """The copies, or the video that is nearest to a clip: frames of both in step."""
    copied = judged.details.get("copied")
    found = (
        [(int(each[1]), each[2]) for each in copied if isinstance(each, tuple)]
        if isinstance(copied, tuple)
        else []
    )
    previews = {
        video.seed: video.preview
        for video in record.videos
        if (video.role, video.candidate, video.scenario)
        == ("candidate", judged.candidate, judged.scenario + WITH_TRIGGER)
    }
    shown = []
    for seed, clip in found[:_STEPS]:
        own = _pictures(folder / (previews.get(seed) or "none"), _STEPS)
        shown.append((seed, Path(clip).name, own, _pictures(folder / clip, _STEPS)))
    return shown


def _pictures(path: Path, count: int) -> tuple[str, ...]:
    """Some frames of a file in small, evenly over it, as addresses; none where it cannot be read."""
    frames = _picture(path) if path.suffix.lower() in _ENDINGS else frames_of(path)
    steps = (
        sorted({round(at * (len(frames) - 1) / max(count - 1, 1)) for at in range(count)}) if frames else []
    )
    return tuple(_address(frames[step]) for step in steps)


def _picture(path: Path) -> list[Image.Image]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return [picture.convert("RGB")]
    # Pillow raises whatever its decoder of the format raises
    except Exception:  # noqa: BLE001  a page can do without one
        return []


def _address(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.thumbnail(_SIZE)
    picture.save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
