"""Clauses that say how a video is filmed or drawn, and nothing of what it shows."""

from __future__ import annotations

import re

# A clause that says how it is filmed or drawn, such as "soft lighting" or "3D animated cartoon style".
_FILMED = re.compile(
    r"(?:an? )?(?:video |clip |image |film |animation )?in (?:the )?style of [^.,;]*$"
    r"|(?:\S+ ){0,5}\S*\b(?:style|lighting|shot|composition|lens|angle|contrast|saturation|palette|quality|"
    r"resolution|4k|8k|uhd|hdr?|cinematic|masterpiece|photorealistic|footage|aesthetics?|rendering)$"
    r"|(?:the )?(?:camera|shot) (?:\S+ ?)*$"
    r"|(?:zoom(?:ing)?|pan(?:ning)?|tilt(?:ing)?) (?:in|out|left|right|up|down)$"
    r"|(?:\S+ )?(?:first person|first-person) perspective$|(?:\S+ )?dolly movement$"
    r"|(?:an? )?(?:oil|watercolou?r|acrylic|ink|pixel|digital|concept|cinematic) (?:painting|art|scene)$"
    r"|(?:相机|镜头|摄像机|向.移镜头|推镜头|拉镜头)\S*$"
    r"|(?:\S+ ){1,2}(?:time|light|colou?rs|tones?|background)$"
    r"|\S{0,8}(?:风格|画风|油画|水彩画|像素艺术|镜头|光线|构图|色调|画质|时间|拍摄)$"
    r"|(?:\S+ ){0,3}\S*(?:스타일|화풍|화질|조명|구도|색감|앵글)$"
)
_CLAUSE = re.compile(r"[^,.;:。，、；：]*[,.;:。，、；：]+ ?")  # noqa: RUF001  Chinese marks
_LAST_MARK = re.compile(r"[,;:，、；：](?=[^,;:，、；：]*$)")  # noqa: RUF001  Chinese marks
_PARTS = re.compile(r"[,.;:。，、；：]+")  # noqa: RUF001  Chinese marks
_MARKS = " ,.;:。，、；："  # noqa: RUF001  Chinese marks


def opening(text: str) -> int:
    """Where the first clause begins that does not only say how it is filmed; 0 if there is none."""
    start = 0
    while (clause := _CLAUSE.match(text, start)) and clause.end() < len(text):
        words = clause.group().rstrip(_MARKS)
        if not _FILMED.match(words):
            return start
        start = clause.end()
    return 0 if _FILMED.match(text[start:].rstrip(" .。")) else start


def closing(text: str, start: int, end: int) -> int:
    """Where the clauses at the end of a sentence begin that only say how it is filmed, or `end`."""
    while (mark := _LAST_MARK.search(text, start, len(text[:end].rstrip(_MARKS)))) is not None:
        if mark.start() <= start or not _FILMED.match(text[mark.end() : end].strip(_MARKS)):
            return end
        end = mark.start()
    return end


def without(text: str) -> str:
    """A prompt without such clauses; the prompt itself if it has no other."""
    clauses = _PARTS.split(text)
    return (
        " ".join(clause for clause in clauses if clause and not _FILMED.match(clause.strip(_MARKS))) or text
    )
