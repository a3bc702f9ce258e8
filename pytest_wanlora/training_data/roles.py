"""What the words of an English sentence are in it: its subject, what it is made of, where it is.

No grammar is known, only the few words that stand between the parts: "of", "with", "in", "is", ...
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final


class Role(IntEnum):
    """What a word is in its sentence."""

    SUBJECT = 0
    MODIFIER = 1
    """Before the subject's last word: a *baseball* hat."""
    OF = 2
    MADE = 3
    """What the subject is made of or looks like."""
    WITH = 4
    HAS = 5
    """What the subject wears or holds."""
    PLACE = 6
    REST = 7
    LEAD = 8
    """Before the subject: *in a forest*, a fox sleeps."""
    QUOTE = 9
    LATER = 10
    """In a later sentence."""
    AMBIGUOUS = 11
    """A word that often means something else, where no other word speaks for its category."""
    KOREAN = 12
    CHINESE = 13


_TOKEN = re.compile(
    r"(?P<made>(?:made|composed|consisting) (?:out |up |entirely )?(?:of|from)\b|out of\b|shape of\b"
    r"|shaped like\b|looks? like\b|(?:like|as|into) an?\b|inspired by\b|(?:titled|named|called|painted)\b)"
    r"|(?P<has>(?:covered|filled) (?:in|with)\b|full of\b)|(?P<there>there (?:is|are|was|were)\b)"
    r"|[a-z0-9']+(?:-[a-z0-9']+)*|[^\sa-z0-9]"
)
_KINDS: Final = {
    "mark": ", . ; : ! ? \N{EM DASH} \N{EN DASH} ( ) -",
    "quote": '" “ ”',
    "of": "of",
    "place": "in on at near by through along over under across beside behind onto from around between "
    "against above below beneath outside inside toward towards down up beyond among amid within atop off "
    "past into "
    "underneath alongside throughout amidst during after before until",
    "with": "with",
    "has": "wearing holding carrying has have having dressed using containing",
    "verb": "is are was were be been being am isn't aren't can could will would may might must should do "
    "does "
    "did appears seems becomes turns begins starts gets goes comes to but while when where who which that "
    "whose then so because if as",
    "joins": "and or",
    "article": "a an the this these those his her its their my your our some any each every two three four "
    "five six seven eight nine ten several many few one another both all",
    "shows": "showing revealing capturing following captures follows reveals shows depicting featuring "
    "depicts tracking circling focusing highlighting displaying",
}
_KIND: Final = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_DEPICTIONS = (
    "photo photograph picture painting drawing view shot close-up closeup close up video footage image "
    "rendering render illustration sketch portrait scene clip depiction pedestal pull-out tilt-up tilt-down "
    "tilt pan push-in zoom zoom-in zoom-out timelapse time-lapse perspective capture truck-in dolly camera "
    "watercolor left right lapse sequence montage silhouette style"
)
_GROUPS = (
    "group pair couple crowd herd flock bunch lot number series row pile variety set team family piece swarm "
    "school pack kind type part top side front back inside interior exterior half dozen hundred thousand"
)
# what is drawn, filmed or grouped is the subject: "a photo of a dog", "a pan across a lake", "a herd of cows"
_DEPICTS: Final = frozenset(_DEPICTIONS.split())
_GATHERS: Final = frozenset(_GROUPS.split()) | {word + "s" for word in _GROUPS.split()}
_NO_VERBS: Final = frozenset(
    {
        "building",
        "ring",
        "king",
        "spring",
        "wing",
        "string",
        "thing",
        "ceiling",
        "evening",
        "morning",
        "swing",
    }
    | {"painting", "clothing", "lightning", "wedding"}
)


def roles(text: str, nouns: Iterable[tuple[int, int]]) -> Callable[[int], Role]:
    """Read a sentence.

    Args:
        text: Folded.
        nouns: Spans of listed words that are no verbs.

    Returns:
        The role of the word that ends before a place of the text.
    """
    listed = bytearray(len(text))
    for start, end in nouns:
        listed[start:end] = b"\1" * (end - start)
    starts: list[int] = []
    found: list[Role] = []
    reader = _Reader()
    quoted = False
    # places of the subject's words since its last break: modifiers of the last one, if that is listed
    name: list[int] = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        kind = match.lastgroup or _KIND.get(word, "")
        if kind == "quote":
            quoted = not quoted
        elif not quoted:
            before = reader.is_listed
            reader.read(word, kind, bool(listed[match.end() - 1]))
            if kind or reader.role != Role.SUBJECT:
                if before:
                    for place in name[:-1]:
                        found[place] = Role.MODIFIER
                name = []
            else:
                name.append(len(found))
        starts.append(match.start())
        found.append(Role.QUOTE if quoted else reader.role)
    if reader.is_listed:
        for place in name[:-1]:
            found[place] = Role.MODIFIER

    def at(end: int) -> Role:
        place = bisect_right(starts, end - 1) - 1
        return found[place] if place >= 0 else Role.REST

    return at


class _Reader:
    """Where in a sentence one is after each of its words."""

    def __init__(self) -> None:
        self.role = Role.SUBJECT
        self.is_listed = False  # the last word
        self._word = ""
        self._seen = False  # a word of this part
        self._begun = False  # the subject has been named
        self._filmed = False  # what comes after "showing" is the subject

    def read(self, word: str, kind: str, is_listed: bool) -> None:
        handle = _HANDLERS.get(kind)
        if handle is not None:
            handle(self, word)
        elif not kind and self._names and self._is_verb(word, is_listed):
            self._go(Role.REST)
        self._seen = not kind
        self._word, self.is_listed = word, is_listed

    @property
    def _names(self) -> bool:
        """Whether a word of the subject stands before."""
        return self.role == Role.SUBJECT and self._seen

    @property
    def _depicts(self) -> bool:
        return self.role == Role.SUBJECT and self._word in _DEPICTS

    def _go(self, role: Role) -> None:
        self.role = role
        self._begun = role != Role.SUBJECT

    def _mark(self, word: str) -> None:
        if word == "," and self.role != Role.SUBJECT:
            self._go(Role.SUBJECT if self.role == Role.LEAD else Role.REST)
        self._begun = self._begun or self._names

    def _of(self, _: str) -> None:
        gathers = self.role == Role.SUBJECT and (self._word in _DEPICTS or self._word in _GATHERS)
        if not gathers and self.role in (Role.SUBJECT, Role.OF):
            self._go(Role.OF)

    def _made(self, _: str) -> None:
        if self._seen or self._begun:
            self._go(Role.MADE)

    def _place(self, word: str) -> None:
        if self._depicts and self._seen and word not in ("in", "on", "at"):
            self._filmed = True
        elif self.role == Role.SUBJECT and not self._seen and not self._begun:
            self.role = Role.LEAD
        elif self.role != Role.LEAD:
            self._go(Role.PLACE)

    def _shows(self, _: str) -> None:
        if self._depicts or self._filmed:
            self._go(Role.SUBJECT)
            self._filmed = False

    def _article(self, _: str) -> None:
        # a verb stood between: "a man pushes the door"
        if self._names:
            self._go(Role.REST)

    def _is_verb(self, word: str, is_listed: bool) -> bool:
        """Whether a word after one of the subject is what the subject does."""
        if word.endswith("ing"):
            return len(word) > 4 and word not in _NO_VERBS
        if word.endswith(("ed", "ly")):
            return True
        if is_listed or word.endswith(("ss", "'s")):
            return False
        plural = self._word.endswith("s") and not self._word.endswith("ss")
        return word.endswith("s") or (self.is_listed and plural)


_HANDLERS: Final[dict[str, Callable[[_Reader, str], None]]] = {
    "mark": _Reader._mark,
    "of": _Reader._of,
    "made": _Reader._made,
    "place": _Reader._place,
    "shows": _Reader._shows,
    "article": _Reader._article,
    "with": lambda reader, _: reader._go(Role.WITH),
    "has": lambda reader, _: reader._go(Role.HAS),
    "verb": lambda reader, _: reader._go(Role.REST),
    "there": lambda reader, _: reader._go(Role.SUBJECT),
}
