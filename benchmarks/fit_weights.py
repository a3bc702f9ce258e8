"""Fit `pytest_wanlora/training_data/weights.yaml` to labelled public prompts.

Run `python -m benchmarks.fit_weights FOLDER` with the clones of `benchmarks.held_out`. The labels are those
of the rounds in which the word lists were measured; they and the lists that were measured are taken from
this repository's history, since lists that have learnt from a prompt look better on it than on a new one.
The captions of `tests/data` that the lists were tuned on count too, in the fit alone.

Maximised is the penalised likelihood of the categories that both labellers agree on (a multinomial
logistic regression whose scores are logarithms of sums; the penalty is a normal prior of the logarithms of
the factors around those that `_start` has). Printed is what is right in a cross-validation of ten parts, by
round and language, and its confidence; `--write` puts the weights into the package.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.held_out import LETTERS, SETS, Labelled, digest, everything, report
from pytest_wanlora.training_data.categories import Categorizer, Decision, Means
from pytest_wanlora.training_data.roles import Role
from pytest_wanlora.training_data.rules import Rules, extended, fold, packaged_rules
from pytest_wanlora.training_data.weights import Kind, Who

ROUNDS = (
    ("da78d5d", "2482d32"),
    ("5069481", "876adf0"),
    ("d1e31d1", "002ec6c"),
    ("243531d", "54793f4"),
    ("9940139", "e53a55c"),
)
"""Commits of the labels, and of the word lists that were frozen before the prompts were drawn."""

_OWN = ("tests/data/captions.csv", "")
WEIGHTS = Path("pytest_wanlora/training_data/weights.yaml")
_LISTS = "pytest_wanlora/training_data/categories.yaml"
_LABELS = "benchmarks/held_out_labels.csv"
_PARTS = 10
_PENALTY, _LIGHT = 2.0, 0.2

# what was written by hand before: the prior
_START_ROLES = {Role.LATER: 0.2, Role.MADE: 0.5, Role.QUOTE: 0.3, Role.AMBIGUOUS: 0.1}
_START_SUBJECTS = {
    Who.NOTHING: (0.5, 1.0, 1.0, 1.0, 1.0),
    Who.THING: (0.5, 1.0, 1.0, 1.0, 1.0),
    Who.PLACE: (0.5, 1.0, 1.0, 1.0, 1.0),
    Who.ACT: (1.0, 1.0, 1.0, 1.0, 1.0),
    Who.ANIMAL: (0.2, 1.0, 1.0, 1.0, 1.0),
    Who.ANIMAL_AND_PEOPLE: (0.2, 1.0, 1.0, 1.0, 1.0),
    Who.PEOPLE_AND_ANIMAL: (3.0, 0.7, 0.6, 1.0, 1.0),
    Who.PEOPLE: (2.5, 0.3, 1.0, 1.0, 1.0),
    Who.PEOPLE_WHO_STAY: (2.5, 1.0, 1.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Prompts:
    """Labelled prompts as numbers.

    Attributes:
        items: The prompts, with no decision yet.
        rounds: Round of each, from 1; 0 for the captions of this project that the lists were tuned on.
        labels: Place of each label in the order of categories.
        who: `Who` of each.
        words: Of each word the prompt, category, role, column, kind and logarithm of the weight.
    """

    items: tuple[Labelled, ...]
    rounds: np.ndarray
    labels: torch.Tensor
    who: torch.Tensor
    words: tuple[torch.Tensor, ...]


def _show(commit: str, path: str) -> str:
    command = ["git", "show", f"{commit}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def lists_of(commit: str) -> Rules:
    """The word lists of a commit, with the animals and the kinds of categories that they have now.

    Args:
        commit: Of this repository.
    """
    now = packaged_rules()
    document = yaml.safe_load(_show(commit, _LISTS))
    empty = replace(now, words={language: {} for language in now.words}, ambiguous={})
    found = extended(empty, {**document["categories"], "neutral": document["neutral"]}, names=now.names)
    words = {
        language: {
            word: (category, now.words[language][word][1])
            if category == "nature" and now.words[language].get(word, (None, 0.0)) == ("nature", 20.0)
            else (category, weight)
            for word, (category, weight) in table.items()
        }
        for language, table in found.words.items()
    }
    return replace(found, words=words)


def read(folder: Path) -> Prompts:
    """The labelled prompts of all rounds.

    Args:
        folder: Of the clones.
    """
    texts = {digest(text): (name, text) for name in SETS for text in everything(folder, name)}
    order = packaged_rules().order
    none = Decision("", Means.NOTHING, 0.0, "", "")
    items: list[Labelled] = []
    rounds: list[int] = []
    who: list[int] = []
    words: list[tuple[float, ...]] = []
    for number, (labels, lists) in enumerate([_OWN, *ROUNDS]):
        categorizer = Categorizer(lists_of(lists) if number else packaged_rules())
        if number:
            rows = csv.DictReader(io.StringIO(_show(labels, _LABELS)))
            new = [Labelled(*texts[row["digest"]], row["first"], row["second"], none) for row in rows]
        else:
            own = csv.DictReader(Path(labels).read_text(encoding="utf-8").splitlines())
            letters = {name: letter for letter, name in LETTERS.items()}
            new = [
                Labelled("", row["prompt"], letters[row["label"]], letters[row["label"]], none)
                for row in own
                if row["split"] == "dev"
            ]
        new = [item for item in new if item.label is not None]
        for item, hits in zip(new, categorizer.hits([fold(item.prompt) for item in new]), strict=True):
            for role, language, word in hits.words:
                entry = categorizer.entries[language][word]
                if entry.place >= 0:
                    column = Kind.SUBJECT if role == Role.SUBJECT and entry.kind != Kind.ACT else entry.kind
                    words.append((len(items), entry.place, role, column, entry.kind, np.log(entry.weight)))
            items.append(item)
            rounds.append(number)
            who.append(hits.who)
    columns = np.array(words).T
    return Prompts(
        tuple(items),
        np.array(rounds),
        torch.tensor([order.index(item.label or "") for item in items]),
        torch.tensor(who),
        (*torch.tensor(columns[:5], dtype=torch.long), torch.tensor(columns[5])),
    )


def _start() -> list[torch.Tensor]:
    """Logarithms of roles, subjects, floor and sharpness, and the powers."""
    roles = torch.tensor([_START_ROLES.get(role, 1.0) for role in Role], dtype=torch.double).log()
    subjects = torch.tensor([_START_SUBJECTS[who] for who in Who], dtype=torch.double).log()
    rest = [torch.full((4,), 0.5, dtype=torch.double), *torch.tensor([0.5, 1.2], dtype=torch.double)]
    return [roles, subjects, *rest]


def chances(parameters: Sequence[torch.Tensor], prompts: Prompts) -> torch.Tensor:
    """Logits of the categories, shape (prompts, categories).

    Args:
        parameters: As `_start` has them.
        prompts: The prompts.
    """
    roles, subjects, powers, floor, sharpness = parameters
    prompt, place, role, column, kind, weight = prompts.words
    values = torch.exp(roles[role] + subjects[prompts.who[prompt], column] + powers[kind] * weight)
    shape = (len(prompts.items), len(LETTERS))
    sums = torch.zeros(shape, dtype=torch.double).index_put((prompt, place), values, accumulate=True)
    return sharpness.exp() * torch.log(sums + floor.exp())


def fit(prompts: Prompts, used: np.ndarray) -> list[torch.Tensor]:
    """The parameters that the labels of some prompts make most likely.

    Args:
        prompts: All prompts.
        used: Which of them count.
    """
    start = _start()
    parameters = [each.clone().requires_grad_() for each in start]
    optimizer = torch.optim.LBFGS(parameters, max_iter=80, line_search_fn="strong_wolfe")
    mask = torch.tensor(used)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = chances(parameters, prompts)
        found = torch.nn.functional.cross_entropy(logits[mask], prompts.labels[mask], reduction="sum")
        penalties = (_PENALTY, _PENALTY, _LIGHT, _LIGHT, _LIGHT)
        for penalty, now, before in zip(penalties, parameters, start, strict=True):
            found = found + penalty / 2 * ((now - before) ** 2).sum()
        found.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        # few labelled prompts have nothing else; that such words are in doubt is what their mark says
        if (gradient := parameters[0].grad) is not None:
            gradient[Role.AMBIGUOUS] = 0.0
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch has no type for it
    return [each.detach() for each in parameters]


def cross_validated(prompts: Prompts) -> Iterator[Labelled]:
    """The prompts, each decided by weights that were fitted to the other parts.

    Args:
        prompts: All prompts.
    """
    part = np.random.default_rng(0).integers(0, _PARTS, len(prompts.items))
    found = torch.zeros(len(prompts.items), len(LETTERS), dtype=torch.double)
    for number in range(_PARTS):
        logits = chances(fit(prompts, part != number), prompts)
        found[part == number] = torch.softmax(logits, dim=1)[part == number]
    names = list(LETTERS.values())
    bare = ~np.isin(np.arange(len(prompts.items)), prompts.words[0])
    # what has no word is `other`
    found[bare] = torch.tensor([0.0, 0.0, 0.0, nothing(prompts)], dtype=torch.double)
    for item, shares in zip(prompts.items, found, strict=True):
        decision = replace(item.said, category=names[int(shares.argmax())], confidence=float(shares.max()))
        yield replace(item, said=decision)


def nothing(prompts: Prompts) -> float:
    """How often a prompt without a word is `other`.

    Args:
        prompts: All prompts.
    """
    worded = set(prompts.words[0].tolist())
    bare = [item.label == "other" for place, item in enumerate(prompts.items) if place not in worded]
    return sum(bare) / len(bare)


def document(prompts: Prompts) -> Mapping[str, object]:
    """What `weights.yaml` has, fitted to all prompts.

    Args:
        prompts: All prompts.
    """
    parameters = fit(prompts, np.ones(len(prompts.items), dtype=bool))
    roles, subjects, powers, floor, sharpness = parameters
    return {
        "roles": {role.name.lower(): round(float(roles[role].exp()), 3) for role in Role},
        "subjects": {
            who.name.lower(): [round(float(each.exp()), 3) for each in subjects[who]] for who in Who
        },
        "powers": [round(float(each), 3) for each in powers],
        "floor": round(float(floor.exp()), 3),
        "sharpness": round(float(sharpness.exp()), 3),
        "nothing": round(nothing(prompts), 3),
    }


def main() -> None:
    """Print the figures of the cross-validation, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the clones")
    parser.add_argument("--write", action="store_true", help=f"write {WEIGHTS}")
    arguments = parser.parse_args()
    prompts = read(arguments.folder)
    items = list(cross_validated(prompts))
    for number in (*range(1, len(ROUNDS) + 1), None):
        print(f"round {number or 'all'}")
        chosen = [item for item, of in zip(items, prompts.rounds, strict=True) if of and number in (of, None)]
        for line in report(chosen, headers=()):
            print(f"  {line}")
    if arguments.write:
        text = yaml.safe_dump(document(prompts), sort_keys=False, default_flow_style=None, width=110)
        WEIGHTS.write_text(f"# Written by `python -m benchmarks.fit_weights`; see weights.py.\n{text}")


if __name__ == "__main__":
    main()
