"""How often the word lists are right on public prompts that were not looked at while they were written.

Run `python -m benchmarks.held_out FOLDER`, where FOLDER holds clones of the repositories of `SETS` under
their names, such as `FOLDER/MovieGenBench`. No text of theirs is part of this project: the prompts are
picked by the order of their digests, and `held_out_labels.csv` has two labels for each digest.

The two labels of a prompt come from two labellers, independently of each other, who had not seen the lists;
both followed the rule of `tests/data/captions.md`. A prompt with two different labels has no single label and
does not count for what is right. Printed are: the agreement of the labels, what is right by set and
language, the confusion table, the confidence beside what is right, what six constant headers change, and how
many planted near duplicates are found. `--list SET` prints the prompts of a set for labelling.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wanlora.training_data.categories import Categorizer, Decision
from pytest_wanlora.training_data.rules import fold, packaged_rules
from pytest_wanlora.training_data.shared_text import find
from pytest_wanlora.training_data.survey import Source, take

LABELS = Path(__file__).with_name("held_out_labels.csv")
HEADERS = (
    "3D animated cartoon style. {}",
    "qqvv_dancer, {}",
    "Sunrise time, soft lighting, aerial shot, wide shot, balanced composition. {}",
    "A cinematic video of a neon city street at night in the style of qqvv: {}",
    "{}, watercolor painting of a mountain landscape",
    "数字绘画风格，舞者与森林，{}",  # noqa: RUF001  the Chinese comma
)
LETTERS = {"a": "action", "u": "urban", "n": "nature", "o": "other"}


@dataclass(frozen=True)
class PublicSet:
    """A public set of prompts.

    Attributes:
        repository: On GitHub.
        commit: That was read.
        files: In it.
        language: Of the prompts that are taken.
        tuned: The first so many were labelled first; the lists were changed after that.
        count: How many of the next are taken.
        prompts: Reads the prompts of a file's text.
    """

    repository: str
    commit: str
    files: tuple[str, ...]
    language: str
    tuned: int
    count: int
    prompts: Callable[[str], Iterator[str]]


def _lines(text: str) -> Iterator[str]:
    yield from (line.strip() for line in text.splitlines() if len(line.split()) > 3)


def _parti(text: str) -> Iterator[str]:
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    yield from (row["Prompt"].strip() for row in rows if len(row["Prompt"].split()) > 3)


def _penguin(text: str) -> Iterator[str]:
    yield from (row["prompt"].strip() for row in csv.DictReader(text.splitlines()))


def _flickr(text: str) -> Iterator[str]:
    yield from (line.partition(" ")[2].strip() for line in text.splitlines() if " " in line)


def _kor_sts(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        cells = line.split("\t")
        if cells[0] == "main-captions":
            yield cells[5].strip()


SETS = {
    "MovieGenBench": PublicSet(
        "facebookresearch/MovieGenBench",
        "bab7753fce1108def167a1efb4c1ae1d69b8f03a",
        ("benchmark/MovieGenVideoBench.txt",),
        "en",
        390,
        78,
        _lines,
    ),
    "parti": PublicSet(
        "google-research/parti",
        "5a657978134374ce28973948331b319adef164bd",
        ("PartiPrompts.tsv",),
        "en",
        335,
        78,
        _parti,
    ),
    "T2V-CompBench": PublicSet(
        "KaiyueSun98/T2V-CompBench",
        "116f996847da14ef1474b8f19ebce5c50da264f3",
        tuple(
            f"prompts/{name}.txt"
            for name in (
                *("1_consistent_attr", "2_dynamic_attr", "3_spatial_relationship", "4_motion_binding"),
                *("5_action_binding", "6_interaction", "7_numeracy"),
            )
        ),
        "en",
        295,
        78,
        _lines,
    ),
    "HunyuanVideo": PublicSet(
        "Tencent/HunyuanVideo",
        "fa14b001c18f37191c938a9ef6baad3b9b472759",
        ("assets/PenguinVideoBenchmark.csv",),
        "en",
        330,
        78,
        _penguin,
    ),
    "flickr8kcn": PublicSet(
        "li-xirong/flickr8kcn",
        "a19b9aa4a7ad2a42741460d9f47385637ae270cd",
        ("data/flickr8kzhc.caption.txt",),
        "zh",
        490,
        110,
        _flickr,
    ),
    "kor-nlu-datasets": PublicSet(
        "kakaobrain/kor-nlu-datasets",
        "0df0fe7d496eb61b092e022e238c2230b29f1cbc",
        ("KorSTS/sts-test.tsv",),
        "ko",
        500,
        88,
        _kor_sts,
    ),
}


def digest(text: str) -> str:
    """Twelve hexadecimal digits that name a prompt without saying it.

    Args:
        text: The prompt.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def picked(folder: Path, name: str) -> list[str]:
    """The held-out prompts of a set.

    Args:
        folder: Of the clones.
        name: Of the set.
    """
    return everything(folder, name)[SETS[name].tuned :][: SETS[name].count]


def everything(folder: Path, name: str) -> list[str]:
    """All different prompts of a set, in the order of their digests.

    Args:
        folder: Of the clones.
        name: Of the set.
    """
    found = SETS[name]
    texts = []
    for file in found.files:
        command = ["git", "-C", str(folder / name), "show", f"{found.commit}:{file}"]
        texts.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    prompts = dict.fromkeys(prompt for text in texts for prompt in found.prompts(text))
    return sorted(prompts, key=digest)


@dataclass(frozen=True)
class Labelled:
    """A prompt with its labels, and what the lists say.

    Attributes:
        name: Of the set.
        prompt: The prompt.
        first: Label of the first labeller, a letter of `LETTERS`, or `x` where none of them fits alone.
        second: Of the second labeller.
        said: By the lists.
    """

    name: str
    prompt: str
    first: str
    second: str
    said: Decision

    @property
    def label(self) -> str | None:
        """The category, where both labellers agree on one."""
        return LETTERS.get(self.first) if self.first == self.second else None


def labelled(folder: Path) -> list[Labelled]:
    """The labelled prompts of all sets.

    Args:
        folder: Of the clones.
    """
    with LABELS.open(encoding="utf-8", newline="") as file:
        known = {row["digest"]: row for row in csv.DictReader(file)}
    categorizer = Categorizer(packaged_rules())
    found = []
    for name in SETS:
        for prompt in picked(folder, name):
            row = known[digest(prompt)]
            said = categorizer.decide(prompt)
            found.append(Labelled(name, prompt, row["first"], row["second"], said))
    return found


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Cohen's kappa (1960) of two labellers.

    Args:
        pairs: Their labels.
    """
    count = len(pairs)
    seen = sum(first == second for first, second in pairs) / count
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    chance = sum(firsts[name] * seconds[name] for name in firsts) / count**2
    return (seen - chance) / (1 - chance)


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927).

    Args:
        right: How many.
        count: Of how many, at least 1.
    """
    share, z = right / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5 / (1 + z * z / count)
    return middle - half, middle + half


def report(items: Sequence[Labelled], headers: Sequence[str] = HEADERS) -> Iterator[str]:
    """All figures but those of near duplicates.

    Args:
        items: The labelled prompts.
        headers: Put before each prompt, to see what that changes.
    """
    pairs = [(item.first, item.second) for item in items]
    same = sum(first == second for first, second in pairs)
    single = [item for item in items if item.label is not None]
    yield f"{len(items)} prompts of {len(SETS)} sets, labels equal on {same}, kappa {kappa(pairs):.2f}"
    yield f"with a single label: {len(single)}"
    groups: dict[str, list[Labelled]] = defaultdict(list)
    for item in single:
        for group in ("all", SETS[item.name].language, item.name):
            groups[group].append(item)
    for group, members in groups.items():
        right = sum(item.said.category == item.label for item in members)
        low, high = interval(right, len(members))
        yield (
            f"  {group}: {right} of {len(members)}, {right / len(members):.1%} "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
    table = Counter((item.label, item.said.category) for item in single)
    yield "label \\ said: " + ", ".join(LETTERS.values())
    for label in LETTERS.values():
        yield f"  {label}: " + ", ".join(str(table[label, said]) for said in LETTERS.values())
    tenths: dict[int, list[Labelled]] = defaultdict(list)
    for item in single:
        tenths[min(int(item.said.confidence * 10), 9)].append(item)
    yield "confidence: prompts, mean confidence, right"
    for tenth, members in sorted(tenths.items()):
        mean = sum(item.said.confidence for item in members) / len(members)
        right = sum(item.said.category == item.label for item in members)
        yield f"  {tenth / 10:.1f}: {len(members)}, {mean:.0%}, {right / len(members):.0%}"
    before = sum(item.said.category == item.label for item in single) / len(single)
    plain = Categorizer(packaged_rules())
    for header in headers:
        folded = [fold(header.format(item.prompt)) for item in single]
        categorizer = Categorizer(packaged_rules(), find(folded, says_something=plain.knows))
        told = categorizer.decide_many(folded)
        right = sum(category == item.label for item, (category, _) in zip(single, told, strict=True))
        yield f"header {header!r}: {right / len(single) - before:+.1%}"


def planted(folder: Path) -> tuple[list[str], list[str]]:
    """2,000 prompts of all sets, and 50 of them with one word changed or with words about the filming added.

    Args:
        folder: Of the clones.
    """
    prompts = [text for name in SETS for text in everything(folder, name)[: 2000 // len(SETS) + 1]][:2000]
    generator = random.Random(1)  # noqa: S311  no secret, the same changes every time
    short = {
        "en": [text for text in prompts if text.isascii() and 6 <= len(text.split()) <= 12],
        "zh": [text for text in prompts if re.search("[一-鿿]", text) and 9 <= len(text) <= 20],
        "ko": [text for text in prompts if re.search("[가-힣]", text) and 14 <= len(text) <= 30],
    }
    changed = []
    for number in range(50):
        language = ("en", "en", "zh", "ko")[number % 4]
        text = generator.choice(short[language])
        if language == "ko":
            change = text.rstrip(".").removesuffix("다") + "습니다."
        elif language == "zh":
            place = generator.randrange(len(text) - 1)
            change = text[:place] + "新" + text[place + 1 :]
        elif number % 8 < 2:
            change = text.rstrip(".") + ", 4k, high quality, cinematic"
        else:
            words = text.split()
            words[generator.randrange(2, len(words))] = "wooden"
            change = " ".join(words)
        changed.append(change)
    return prompts, changed


def near_duplicates(folder: Path, *, show: bool) -> Iterator[str]:
    """How many planted near duplicates are found among 2,000 prompts, and what else is.

    Args:
        folder: Of the clones.
        show: Whether the other pairs are printed, to be judged.
    """
    prompts, changed = planted(folder)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "prompts.jsonl"
        lines = (json.dumps({"prompt": text}) for text in prompts + changed)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        survey = take(Source(path, check_videos=False), packaged_rules())
    kept = survey.duplicates().kept
    groups = Counter(kept.tolist())
    found = sum(groups[kept[row]] > 1 for row in range(len(prompts), len(kept)))
    rest = [row for row in range(len(prompts)) if kept[row] not in (row, *kept[len(prompts) :])]
    yield f"near duplicates: {found} of {len(changed)} planted, {len(rest)} others among {len(prompts)}"
    if show:
        yield from (f"  {prompts[row]} | {survey.prompts[kept[row]]}" for row in rest)


def main() -> None:
    """Print the figures, or the prompts of a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the clones")
    parser.add_argument("--list", choices=SETS, metavar="SET", help="print the prompts of a set")
    parser.add_argument("--near", action="store_true", help="print the near duplicates, to be judged")
    arguments = parser.parse_args()
    if arguments.list is not None:
        for text in picked(arguments.folder, arguments.list):
            print(digest(text), text)
        return
    for line in report(labelled(arguments.folder)):
        print(line)
    for line in near_duplicates(arguments.folder, show=arguments.near):
        print(line)


if __name__ == "__main__":
    main()
