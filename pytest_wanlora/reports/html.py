"""The HTML report: one page that needs no other file and no network, made from the run record alone.

Everything of the record is escaped where it enters the page, and a content security policy that knows the
page's own script and style by their digests keeps anything else from running.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from pytest_wanlora.reports import commands, html_first, html_run, html_text, limits, sentences, trend
from pytest_wanlora.reports.html_checkpoints import (
    Anchors,
    CandidateView,
    candidate_views,
    common_steps,
    project_tests,
    title_of,
)
from pytest_wanlora.reports.html_previews import Previews, gather
from pytest_wanlora.reports.html_scenarios import Scene, scenes
from pytest_wanlora.reports.terminal import duration

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_wanlora.results.run_record import RunRecord

#: Characters that a page may have: what a mail or an issue still takes.
LARGEST: Final = 25_000_000
# left for the page itself at the first try; most need a tenth of it
_ROOM: Final = 1_000_000
# what the words about previews that are left out may add
_SLACK: Final = 50_000


def page(record: RunRecord, folder: Path, *, largest: int = LARGEST) -> str:
    """Make the report.

    Args:
        record: The run.
        folder: Of the run, where its previews are found.
        largest: Characters that the page may have. Previews that do not fit are left out, and the page says
            so; without any it may still be larger.

    Returns:
        HTML, UTF-8 when encoded whatever the names of the record are.
    """
    previews = gather(record, folder, largest - _ROOM)
    text = _render(record, previews, largest)
    if previews.count("left_out") or len(text) > largest:
        # now that the size of the page itself is known
        previews = gather(record, folder, largest - (len(text) - previews.weight) - _SLACK)
        text = _render(record, previews, largest)
    return text


def _render(record: RunRecord, previews: Previews, largest: int) -> str:
    anchors = Anchors(record)
    shown = scenes(record, anchors, previews)
    views = candidate_views(record, anchors)
    style, script = _file("page.css"), _file("page.js")
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=_policy(style, script),
            style=Markup(style),  # noqa: S704  a file of this package
            script=Markup(script),  # noqa: S704  a file of this package
            record=record,
            head=_head(record, views),
            candidates=views,
            tests=project_tests(record),
            left_out=sentences.left_out_lines(
                record.left_out, record.expected, "en", html_text.isolated, html_text.visible
            ),
            steps=any(view.steps for view in views),
            common_steps=common_steps(views),
            looks=html_first.looks(record, anchors, previews),
            compact=html_first.compact(record, views, anchors),
            metrics=[title_of(metric) for metric in anchors.metrics],
            scenes=shown,
            courses=html_run.courses(record, anchors),
            rapa=limits.is_rapa(record),
            published=limits.published_scorers(record),
            limits=html_run.limits(record, anchors),
            targets=html_run.targets(record),
            noise=html_run.noise(record),
            training=html_run.training(record),
            previews=previews,
            players=_players(record, shown),
            largest=largest,
            command=html_text.visible(commands.typed(*record.command)),
            install=html_text.visible(commands.install(record)),
            fingerprint=json.dumps(record.suite.fingerprint, indent=1, sort_keys=True, ensure_ascii=False),
        )
    )
    # a file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Head:
    """The first thing that is read.

    Attributes:
        state: `"yes"`, `"no"`, `"mixed"` or `"none"`.
        name: Of the only checkpoint, else empty.
        title: The answer.
        advice: Which of several to publish, or empty.
        reason: Why.
    """

    state: str
    name: str
    title: str
    advice: str
    reason: str


def _head(record: RunRecord, views: tuple[CandidateView, ...]) -> Head:
    if len(views) == 1:
        only = views[0]
        return Head(only.state, only.card.name, only.headline, "", only.reason)
    able = sum(view.state == "yes" for view in views)
    best = trend.best(record)
    advice = sentences.best_advice(best, "en", html_text.isolated)
    reason = sentences.best_reason(best, "en", html_text.isolated)
    if not views:
        return Head("none", "", "No checkpoint was gated", advice, reason)
    state = "yes" if able == len(views) else "mixed" if able else "no"
    title = f"{able or 'None'} of {len(views)} checkpoints may be published"
    return Head(state, "", title, advice, reason)


def _players(record: RunRecord, shown: tuple[Scene, ...]) -> Markup:
    """What the script needs to know, as JSON that no name can break out of."""
    sampling = record.suite.fingerprint.get("sampling")
    frames = sampling.get("frames") if isinstance(sampling, dict) else None
    takes = {
        panel.anchor: {
            "first": panel.first,
            "takes": [{"seed": t.seed, "clips": [side.clip for side in t.sides]} for t in panel.takes],
        }
        for scene in shown
        for panel in scene.panels
        if panel.playable
    }
    return htmlsafe_json_dumps({"frames": frames if isinstance(frames, int) else None, "players": takes})


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _file(name: str) -> str:
    folder = resources.files("pytest_wanlora.reports") / "templates"
    # the digest is of what stands between the tags, so newlines must be those that the page has
    return (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")


@cache
def _environment() -> Environment:
    environment = Environment(
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
    }
    environment.filters.update(filters)
    return environment
