"""The HTML report: one page that needs no other file and no network, made from the run record alone.

Everything of the record is escaped where it enters the page, and a content security policy that knows the
page's own script and style by their digests keeps anything else from running.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from pytest_wanlora.durations import duration
from pytest_wanlora.phrases import LANGUAGES, Language
from pytest_wanlora.reports import (
    commands,
    html_first,
    html_race,
    html_run,
    html_text,
    limits,
    sentences,
    trend,
)
from pytest_wanlora.reports.html_checkpoints import (
    Anchors,
    CandidateView,
    candidate_views,
    common_steps,
    project_tests,
)
from pytest_wanlora.reports.html_previews import Previews, gather
from pytest_wanlora.reports.html_scenarios import Scene, scenes
from pytest_wanlora.reports.i18n import title_of
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_wanlora.results.run_record import RunRecord

#: Characters that a page may have: what a mail or an issue still takes.
LARGEST: Final = 25_000_000
# left for the page itself at the first try; most need a tenth of it
_ROOM: Final = 1_000_000
# what the words about previews that are left out may add
_SLACK: Final = 50_000


@dataclass(frozen=True)
class Made:
    """A page.

    Attributes:
        text: HTML, UTF-8 when encoded whatever the names of the record are.
        beside: Address relative to the page of each preview that it plays from beside it, to the file that is
            to be copied there.
    """

    text: str
    beside: Mapping[str, Path]


def page(record: RunRecord, folder: Path, *, largest: int = LARGEST) -> str:
    """Make the report; see `made`."""
    return made(record, folder, largest=largest).text


def made(record: RunRecord, folder: Path, *, largest: int = LARGEST) -> Made:
    """Make the report.

    Args:
        record: The run.
        folder: Of the run, where its previews are found.
        largest: Characters that the page may have. Previews that do not fit are left out, and the page says
            so; without any it may still be larger.
    """
    previews = gather(record, folder, largest - _ROOM)
    text = _render(record, previews, largest)
    if previews.count("left_out") or len(text) > largest:
        # now that the size of the page itself is known
        previews = gather(record, folder, largest - (len(text) - previews.weight) - _SLACK)
        text = _render(record, previews, largest)
    return Made(text, previews.beside)


def _render(record: RunRecord, previews: Previews, largest: int) -> str:
    style, script = _file("page.css"), _file("page.js")
    bodies: dict[Language, Markup] = {}
    titles: dict[Language, str] = {}
    shown: tuple[Scene, ...] = ()
    first: tuple[html_first.Look, ...] = ()
    for language in LANGUAGES:
        anchors = Anchors(record, language)
        shown = scenes(record, anchors, previews)
        first = html_first.looks(record, anchors, previews)
        views = candidate_views(record, anchors)
        head = _head(record, views, language)
        titles[language] = f"{head.title}, {html_text.label(record.suite.name)}"
        bodies[language] = Markup(  # noqa: S704  escaped by the template
            _template("body.html.j2").render(
                _body(record, anchors, previews, views),
                head=head,
                scenes=shown,
                looks=first,
                largest=largest,
            )
        )
    # the clips of the first pair stand before the script, so that they play while the others are read
    early = {side.clip for look in first[:1] for side in look.sides}
    text = _template("page.html.j2").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  a file of this package
        script=Markup(script),  # noqa: S704  a file of this package
        state=_head(record, candidate_views(record, Anchors(record)), "en").state,
        titles=titles,
        bodies=bodies,
        early=[clip for clip in previews.clips if clip.name in early],
        late=[clip for clip in previews.clips if clip.name not in early],
        players=_players(record, shown, titles),
    )
    # a file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _body(
    record: RunRecord, anchors: Anchors, previews: Previews, views: tuple[CandidateView, ...]
) -> dict[str, Any]:
    """What the template shows in one language."""
    language = anchors.language

    def say(key: str, **fields: object) -> Markup:
        phrase = Html[key] if key in Html.__members__ else Page[key]
        # escaped before its fields are, and these by `format`
        return Markup(escape(getattr(phrase.value, language))).format(**fields)  # noqa: S704

    names = trend.best_first(record, [view.card.name for view in views])
    first = tuple(sorted(views, key=lambda view: names.index(view.card.name)))
    levels = {j.evidence.level for j in record.judgements if j.evidence is not None}
    return {
        "language": language,
        "say": say,
        "record": record,
        # what a cause says is said there
        "notes": [
            *sentences.baseline_lines(record, language),
            *(note for note in record.notes if note not in {c.sentence for c in record.causes}),
        ],
        "candidates": views,
        "level": f"{min(levels, default=0.9):.0%}",
        "tests": project_tests(record, language),
        "left_out": sentences.left_out_lines(
            record.left_out, record.expected, language, html_text.isolated, html_text.visible
        ),
        "first_step": html_first.first_step(record, views, language),
        "common_steps": common_steps(views),
        "compact": html_first.compact(record, first, anchors),
        "metrics": [title_of(metric, language) for metric in anchors.metrics],
        "fvd": "fvd" in anchors.metrics,
        "courses": html_run.courses(record, anchors),
        "race": html_race.race_view(record, language),
        "strengths": trend.strengths(record),
        "best_first": first,
        "rapa": limits.is_rapa(record),
        "published": limits.published_scorers(record),
        "limits": html_run.limits(record, anchors),
        "targets": html_run.targets(record, anchors),
        "noise": html_run.noise(record, anchors),
        "training": html_run.training(record, anchors),
        "previews": previews,
        "beneath": sentences.beneath(record, language, html_text.isolated),
        "command": html_text.visible(
            "\n".join(dict.fromkeys(commands.typed(*run.command) for run in record.runs))
        ),
        "rendering_time": sentences.rendering_time(record.totals, language),
        "install": html_text.visible(commands.install(record)),
        "fingerprint": json.dumps(record.suite.fingerprint, indent=1, sort_keys=True, ensure_ascii=False),
    }


@dataclass(frozen=True)
class Head:
    """The first thing that is read.

    Attributes:
        state: `"yes"`, `"no"`, `"mixed"` or `"none"`.
        title: The answer.
        advice: Which of several to publish, or empty.
        reason: Why.
    """

    state: str
    title: str
    advice: str
    reason: str


def _head(record: RunRecord, views: tuple[CandidateView, ...], language: Language) -> Head:
    if len(views) == 1:
        # who asks which epoch to take learns that there was no other
        answered = views[0].state == "yes" or record.storing is not None
        other = [] if answered else [Html.NO_OTHER.say(language)]
        return Head(views[0].state, views[0].headline, "", " ".join([views[0].reason, *other]))
    able, count = sum(view.state == "yes" for view in views), len(views)
    best = trend.best(record)
    advice = sentences.best_advice(best, language, html_text.isolated)
    reason = sentences.best_reason(best, language, html_text.isolated)
    if not views:
        return Head("none", Html.NO_GATED.say(language), advice, reason)
    state = "yes" if able == count else "mixed" if able else "no"
    title = (Html.ABLE if able else Html.NONE_ABLE).say(language, able=able, count=count)
    return Head(state, title, advice, reason)


#: What the script says, by its name for it.
_SPOKEN: Final = {
    "play": Html.PLAY,
    "pause": Html.PAUSE,
    "playAll": Html.PLAY_ALL,
    "pauseAll": Html.PAUSE_ALL,
    "frameOf": Html.FRAME_OF,
    "countOf": Html.COUNT_OF,
    "most": Html.MOST,
    "mean": Html.MEAN_DIFFERENCE,
    "cannot": Html.CANNOT_SHOW,
    "noH264": Html.NO_H264,
    "noFile": Html.NO_FILE,
    "tooLong": Html.TOO_LONG,
}


def _players(record: RunRecord, shown: tuple[Scene, ...], titles: Mapping[Language, str]) -> Markup:
    """What the script needs to know, as JSON that no name can break out of."""
    sampling = record.suite.fingerprint.get("sampling")
    frames = sampling.get("frames") if isinstance(sampling, dict) else None
    takes = {
        scene.anchor: {
            "first": scene.player.first,
            "sides": [index for _, _, index in scene.player.sides],
            "takes": [
                {"seed": t.seed, "clips": [s.clip for s in t.shots], "files": [s.file for s in t.shots]}
                for t in scene.player.takes
            ],
        }
        for scene in shown
        if scene.player is not None and scene.player.playable
    }
    words = {
        language: {"title": titles[language], **{k: p.say(language) for k, p in _SPOKEN.items()}}
        for language in LANGUAGES
    }
    known = {"frames": frames if isinstance(frames, int) else None, "players": takes, "words": words}
    return htmlsafe_json_dumps(known)


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        "img-src data:; media-src blob: file: 'self'; base-uri 'none'; form-action 'none'"
    )


@cache
def _file(name: str) -> str:
    folder = resources.files("pytest_wanlora.reports") / "templates"
    # the digest is of what stands between the tags, so newlines must be those that the page has
    return (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _template(name: str) -> Template:
    return environment().get_template(name)


@cache
def environment() -> Environment:
    """The page's templates."""
    made = Environment(
        loader=PackageLoader("pytest_wanlora.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "name": html_text.name,
        "prose": html_text.prose,
        "label": html_text.label,
        "duration": duration,
        "when": html_run.when,
        "flat": html_run.flat,
        "capital": html_text.capital,
    }
    made.filters.update(filters)
    return made
