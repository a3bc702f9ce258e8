"""HTML pages taken apart, and run folders with previews, for tests of the HTML report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pytest_wanlora.phrases import Language
from pytest_wanlora.results.parts import Role, Video
from pytest_wanlora.results.run_record import RunRecord

_VOID = {"meta", "link", "br", "input", "hr", "img"}
#: SVG elements that the templates close in themselves.
_EMPTY = {"use", "circle", "path", "rect", "line", "polygon", "polyline"}


@dataclass
class Page(HTMLParser):
    """What a page is made of.

    Attributes:
        shape: Tags in their order, each with the names of its attributes.
        ids: Every id.
        links: Every address.
        text: All that is read; scripts and styles apart.
        data: Text of `script` and `style` elements, by tag and type.
        unclosed: Tags that were closed in another order than they were opened.
    """

    shape: list[tuple[str, ...]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    text: str = ""
    data: dict[str, list[str]] = field(default_factory=dict)
    unclosed: list[str] = field(default_factory=list)
    policy: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._kind = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.shape.append((tag, *sorted(known)))
        self.ids += [known["id"] or ""] if "id" in known else []
        self.links += [known[name] or "" for name in ("href", "src") if name in known]
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"] or ""
        if tag not in _VOID and not (tag in _EMPTY and self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self._open.append(tag)
        self._kind = f"{tag} {known.get('type', '')}".strip() if tag in ("script", "style") else ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unclosed.append(tag)
        self._kind = ""

    def handle_data(self, data: str) -> None:
        if self._kind:
            self.data.setdefault(self._kind, []).append(data)
        else:
            self.text += data

    @property
    def words(self) -> str:
        """The text with single spaces, without the signs that keep names apart."""
        return " ".join(self.text.replace("\u2068", "").replace("\u2069", "").split())


def parsed(html: str, language: Language = "en") -> Page:
    """Take a page apart as it is read in one language; the other lies in a template."""
    before, _, rest = html.partition('<template id="ko">')
    other, _, after = rest.partition("</template>")
    if language == "ko":
        before = before.partition('<div id="page">')[0] + '<div id="page">' + other + "</div>"
    page = Page()
    page.feed(before + after)
    page.close()
    assert page.unclosed == []
    assert page._open == []
    return page


def renamed(record: RunRecord, names: Mapping[str, str]) -> RunRecord:
    """The same record with other names, wherever they stand alone."""

    def swap(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, str):
            return names.get(value, value)
        if isinstance(value, dict):
            return {swap(key): swap(each) for key, each in value.items()}
        return [swap(each) for each in value] if isinstance(value, list) else value

    return RunRecord.from_json(json.dumps(swap(json.loads(record.to_json()))))


def videos(
    candidates: Sequence[str],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    *,
    scores: Mapping[str, float] | None = None,
) -> tuple[Video, ...]:
    """Videos of the baseline and of candidates, with previews at `videos/<whose>-<scenario>-<seed>.mp4`."""
    sides: list[tuple[Role, str]] = [("baseline", "base"), *(("candidate", name) for name in candidates)]
    return tuple(
        Video(
            role=role,
            candidate=name,
            scenario=scenario,
            seed=seed,
            scores=dict(scores or {}),
            preview=f"videos/{name}-{scenario}-{seed}.mp4",
        )
        for role, name in sides
        for scenario in scenarios
        for seed in seeds
    )


def write_files(folder: Path, record: RunRecord, size: int) -> None:
    """Files that begin like an mp4, each with bytes of its own."""
    for index, video in enumerate(record.videos):
        assert video.preview is not None
        path = folder / video.preview
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\0\0\x18ftypisom" + index.to_bytes(4, "big") + bytes(size - 16))
