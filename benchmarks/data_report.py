"""How fast `data report` reads prompts, beside the usual ways to look for words.

Run `python benchmarks/data_report.py [--rows 1000000]`. It writes a metadata file of made-up
captions in three languages (words of `tests/data/captions.csv` in random order), then measures:

* the whole report: reading, categories, languages, lengths, exact and near duplicates, looking for the files;
* deciding the categories alone, in this process;
* the usual ways on a sample of the same prompts: a loop over all words with `in`, a loop over all words with
  a word-bounded `re.search`, and one alternation a category and language with `re.search`.

Wall time depends on what else the machine does; processor time is printed beside it.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_wanlora.training_data.categories import Categorizer
from pytest_wanlora.training_data.duplicates import THRESHOLD
from pytest_wanlora.training_data.report import build
from pytest_wanlora.training_data.rules import Rules, fold, packaged_rules
from pytest_wanlora.training_data.survey import Source, take

_CAPTIONS = Path(__file__).parents[1] / "tests" / "data" / "captions.csv"
_SAMPLE = 2_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rules = packaged_rules()
    print(f"word lists: {sum(map(len, rules.words.values())):,} words")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metadata.csv"
        prompts = write_metadata(path, arguments.rows)
        megabytes = path.stat().st_size / 2**20
        print(f"{arguments.rows:,} prompts, {megabytes:.0f} MiB\n")
        print(f"{'what':<52} {'prompts':>10} {'wall s':>8} {'cpu s':>8} {'us a prompt':>12}")
        measure_report(path, rules)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measure_ways(prompts, rules)
    print(f"\npeak memory of the report: {peak:.0f} MiB")


def write_metadata(path: Path, rows: int) -> list[str]:
    """Write made-up captions.

    Args:
        path: The csv file to write.
        rows: How many.

    Returns:
        The first prompts, as a sample.
    """
    with _CAPTIONS.open(encoding="utf-8", newline="") as file:
        captions = list(csv.DictReader(file))
    pieces = {
        language: [piece for row in captions if row["language"] == language for piece in split(row["prompt"])]
        for language, split in (("en", str.split), ("ko", str.split), ("zh", _clauses))
    }
    ranges = {"en": (10, 40, " "), "ko": (6, 20, " "), "zh": (2, 6, "，")}  # noqa: RUF001  the Chinese comma
    generator = random.Random(1)  # noqa: S311  no secret, the same file every time
    sample = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "prompt"])
        for number in range(rows):
            language = generator.choice(("en", "en", "ko", "zh"))
            least, most, joint = ranges[language]
            prompt = joint.join(generator.choices(pieces[language], k=generator.randint(least, most)))
            writer.writerow([f"clips/{number:07d}.mp4", prompt])
            if number < _SAMPLE:
                sample.append(prompt)
    return sample


def measure_report(path: Path, rules: Rules) -> None:
    """Time the whole report and its two halves.

    Args:
        path: The metadata.
        rules: The word lists.
    """
    wall, cpu = time.perf_counter(), _cpu()
    survey = take(Source(path, path.parent), rules)
    _line("walk through the file", len(survey), wall, cpu)
    middle, middle_cpu = time.perf_counter(), _cpu()
    report = build(survey, survey.duplicates(), threshold=THRESHOLD)
    _line("duplicates and the report's numbers", report.rows, middle, middle_cpu)
    _line("the whole report", report.rows, wall, cpu)


def measure_ways(prompts: Sequence[str], rules: Rules) -> None:
    """Time several ways to find the words of the same prompts.

    Args:
        prompts: A sample.
        rules: The word lists.
    """
    categorizer = Categorizer(rules)
    folded = [fold(prompt) for prompt in prompts]
    words = [word.strip("*^") for table in rules.words.values() for word in table]
    expressions = [re.compile(rf"\b{re.escape(word)}\b") for word in words]
    alternations = [
        re.compile(
            "|".join(re.escape(word.strip("*^")) for word, (owner, _) in table.items() if owner == category)
        )
        for table in rules.words.values()
        for category in rules.order
    ]
    ways: dict[str, Callable[[], object]] = {
        "categories by this package's automaton": lambda: categorizer.decide_many(folded),
        "a loop over all words with `in`": lambda: [[word in text for word in words] for text in folded],
        "a loop over all words with re.search": lambda: [
            [expression.search(text) for expression in expressions] for text in folded
        ],
        "one alternation a category and language": lambda: [
            [alternation.search(text) for alternation in alternations] for text in folded
        ],
    }
    for name, way in ways.items():
        wall, cpu = time.perf_counter(), _cpu()
        way()
        _line(name, len(folded), wall, cpu)


def _clauses(caption: str) -> Iterator[str]:
    return iter(re.split("[，。]", caption.strip("。")))  # noqa: RUF001  the Chinese comma


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(spent.ru_utime + spent.ru_stime for spent in usage)


def _line(name: str, prompts: int, wall: float, cpu: float) -> None:
    seconds = time.perf_counter() - wall
    print(f"{name:<52} {prompts:>10,} {seconds:>8.2f} {_cpu() - cpu:>8.2f} {1e6 * seconds / prompts:>12.1f}")


if __name__ == "__main__":
    main()
