"""`python -m pytest_wanlora data report|balance|categorize|import`."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from pytest_wanlora.cli.data_source import (
    count,
    progress,
    rules_of,
    similarity_of,
    source_of,
    suite_of,
    survey_of,
    threshold,
    whole,
)
from pytest_wanlora.cli.output import BAD, OK, say, say_json
from pytest_wanlora.errors import DataError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.training_data import balance
from pytest_wanlora.training_data.categories import COLUMNS, decisions
from pytest_wanlora.training_data.duplicates import THRESHOLD
from pytest_wanlora.training_data.forms import packed
from pytest_wanlora.training_data.metadata import FORMATS
from pytest_wanlora.training_data.report import build, draw_lines, report_lines
from pytest_wanlora.training_data.rules import Rules, packaged_rules
from pytest_wanlora.training_data.survey import take
from pytest_wanlora.training_data.trigger import trigger_uses
from pytest_wanlora.training_data.videos import BROKEN, URLS, State, Target, read_clips
from pytest_wanlora.training_data.writing import check_output, write_table

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

_TI2V_MULTIPLE: Final = 32


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `data` and its commands; each sets `run_command`, a function from the arguments to an exit code."""
    data = commands.add_parser("data", help="what a LoRA was trained on, and a balanced set to train next")
    kinds = data.add_subparsers(dest="data_command", required=True, metavar="COMMAND")

    report = kinds.add_parser(
        "report",
        help="shares of categories, duplicates, missing videos",
        description="Exit code 1 if the training would stop at a row or read no prompt in it.",
    )
    _common(report)
    report.add_argument("--videos", choices=("none", "exist", "read"), default="exist", help=_READ)
    report.add_argument("--height", type=count, help="what the training resizes to; default: the suite's")
    report.add_argument("--width", type=count)
    report.add_argument("--frames", type=count, help="the most frames it uses; default: the suite's, else 81")
    report.add_argument("--multiple", type=count, help=_MULTIPLE)
    report.add_argument(
        "--near-duplicates", type=threshold, default=THRESHOLD, metavar="SIMILARITY", help=_NEAR
    )
    report.add_argument("--workers", type=count, help=_WORKERS)
    report.add_argument("--json", action="store_true", help="as JSON")
    report.set_defaults(run_command=_report)

    balanced = kinds.add_parser("balance", help="draw a set with wanted shares")
    _common(balanced)
    balanced.add_argument("--samples", type=whole, required=True, help="rows of the new set")
    balanced.add_argument(
        "--share", metavar="CATEGORY=SHARE,...", help="such as urban=0.3,nature=0.3,action=0.4"
    )
    balanced.add_argument("--toward", type=Path, metavar="RUN", help=_TOWARD)
    balanced.add_argument("--candidate", metavar="NAME", help="whose verdicts, where the run has several")
    balanced.add_argument("--seed", type=whole, default=0)
    balanced.add_argument(
        "--output", type=Path, required=True, help="ends as METADATA does; all columns are kept"
    )
    balanced.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    balanced.add_argument("--repeat", action="store_true", help="repeat rows of a category that is short")
    balanced.add_argument("--drop", choices=("near", "exact", "none"), default="exact", help=_DROP)
    balanced.add_argument("--near-duplicates", type=threshold, metavar="SIMILARITY", help=_NEAR)
    balanced.add_argument("--videos", choices=("none", "exist"), default="exist", help=_VIDEOS)
    balanced.set_defaults(run_command=_balance)

    categorize = kinds.add_parser("categorize", help="write every prompt's category with its reason")
    _common(categorize)
    categorize.add_argument("--output", type=Path, required=True, help="a .csv or .jsonl file")
    categorize.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    categorize.set_defaults(run_command=_categorize)

    imported = kinds.add_parser("import", help="write the metadata that DiffSynth trains on")
    _read(imported)
    imported.add_argument("--to", choices=("diffsynth",), required=True, help="whose metadata")
    imported.add_argument(
        "--output", type=Path, help="a .csv, .json or .jsonl file; default: metadata.csv beside the videos"
    )
    imported.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    imported.add_argument("--videos", choices=("none", "exist"), default="exist", help=_VIDEOS)
    imported.set_defaults(run_command=_import)


_VIDEOS = "whether to look for the video files; default: exist"
_READ = "look for the video files, or decode each of them to its end, which is slow; default: exist"
_MULTIPLE = "what the model needs sizes to be multiples of: 32 for TI2V-5B (default), 16 for other Wan models"
_NEAR = f"similarity from which on prompts are near duplicates, 0 to 1; default: {THRESHOLD}"
_TOWARD = (
    "a run's results.json: raise the shares (of --share, else equal ones) of categories that regressed in it"
)
_FORMS = (
    "a folder of clips with captions, a .csv, .tsv, .json or .jsonl table, a .toml or .yaml config, a .zip"
)
_TRIGGER = (
    "leave this text out of every prompt (what 9 of 10 share is left out anyway); report says how it is used"
)
_WORKERS = "videos that are read at a time; default: as many as there are cores, 4 at most"
_DROP = "which repeated prompts are left out before the draw; default: exact"


def _common(parser: argparse.ArgumentParser) -> None:
    _read(parser)
    parser.add_argument("--suite", metavar="NAME|FILE", help="take its categories and their words")
    parser.add_argument(
        "--categories", type=Path, metavar="FILE", help="more or other words; subjects: people, animals, ..."
    )
    parser.add_argument(
        "--clip", action="store_true", help="ask the suite's CLIP about prompts that no word decides"
    )
    parser.add_argument("--device", help="where CLIP runs; default: cpu")


def _read(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metadata", type=Path, help=_FORMS)
    parser.add_argument("--base", type=Path, help="folder of the videos; default: the metadata's")
    parser.add_argument("--trigger", action="append", metavar="TEXT", help=_TRIGGER)
    parser.add_argument("--prompt-column", metavar="NAME", help="default: prompt, caption, text, ...")
    parser.add_argument("--video-column", metavar="NAME", help="default: video, video_path, file_name, ...")


def _report(arguments: argparse.Namespace) -> int:
    suite = suite_of(arguments)
    target = _target(arguments, suite)
    survey = survey_of(arguments, suite, check_videos=arguments.videos != "none")
    if survey.kind == "archive" and arguments.videos == "read":
        raise packed(
            arguments.metadata,
            f"--videos read: no video in {arguments.metadata} is read; allowed for a .zip: none, exist",
        )
    duplicates = survey.duplicates(threshold=arguments.near_duplicates)
    report = build(survey, duplicates, threshold=arguments.near_duplicates)
    subject = suite.subject.trigger if suite is not None and suite.subject is not None else None
    triggers = [*(arguments.trigger or ()), *([subject] if subject else ())]
    report = replace(report, triggers=trigger_uses(survey, triggers))
    if arguments.videos == "read":
        with survey.source.open() as metadata:
            states = zip(metadata, survey.video_states, strict=True)
            paths = [
                survey.source.folder / (row.video or "") for row, state in states if state == State.PRESENT
            ]
        workers = arguments.workers or min(os.cpu_count() or 1, 4)
        read = read_clips(paths, target, workers=workers, progress=progress("videos"))
        report = replace(report, clips=read)
    if arguments.json:
        say_json(report.to_json())
    else:
        say(report_lines(report))
    return BAD if report.broken or report.without_prompt else OK


def _balance(arguments: argparse.Namespace) -> int:
    if arguments.candidate is not None and arguments.toward is None:
        raise DataError(
            "--candidate: said only of a run, which --toward names", options={"--candidate": False}
        )
    if arguments.near_duplicates is not None and arguments.drop != "near":
        raise DataError(
            f"--near-duplicates: not looked for with --drop {arguments.drop}",
            options={"--drop": "near"},
        )
    kind = _output_kind(arguments.output, arguments.metadata)
    check_output(arguments.output, sources=[arguments.metadata], overwrite=arguments.overwrite)
    suite = suite_of(arguments)
    rules = rules_of(arguments, suite)
    shares = _shares(arguments, rules)
    check_videos = arguments.videos != "none"
    survey = survey_of(arguments, suite, check_videos=check_videos, near=arguments.drop == "near")
    drawn = balance.draw(
        survey,
        shares,
        arguments.samples,
        seed=arguments.seed,
        drop=arguments.drop,
        threshold=arguments.near_duplicates or THRESHOLD,
        repeat=arguments.repeat,
    )
    records = survey.records(drawn.rows)
    write_table(arguments.output, kind, survey.columns, (records[row].record for row in drawn.rows))
    say(draw_lines(arguments.output, arguments.seed, survey.counts(repeats=False), drawn))
    say(survey.shared.notes)
    return OK


def _import(arguments: argparse.Namespace) -> int:
    source = source_of(arguments, check_videos=arguments.videos != "none", near=False)
    output = arguments.output or source.folder / "metadata.csv"
    kind = output.suffix.lower().removeprefix(".")
    if kind not in ("csv", "json", "jsonl"):
        raise DataError(
            f"--output: {output} does not end in .csv, .json or .jsonl, which DiffSynth reads",
            options={"--output": str(output.with_suffix(".csv"))},
        )
    check_output(output, sources=[arguments.metadata], overwrite=arguments.overwrite)
    survey = take(source, packaged_rules(), progress=progress("rows"))
    if survey.kind == "archive":
        raise packed(source.path, f"{source.path}: DiffSynth reads no archive")
    unusable = ~survey.present | np.isin(survey.video_states, list(BROKEN))
    if unusable.any():
        such = "; ".join(
            f"{row} has no {'usable video' if survey.present[number] else 'prompt'}"
            for number, row in survey.examples(unusable).items()
        )
        raise DataError(
            f"{source.path}: {np.count_nonzero(unusable):,} of {number_of(len(survey), 'row')} would "
            "stop the training, "
            f"such as {such}; nothing was written",
            next_command=_report_of(arguments),
        )
    with source.open() as metadata:
        rows = [
            [_within(row.video, source.folder, output.parent), row.prompt or ""]
            for row in metadata
            for _ in range(row.repeats)
        ]
    write_table(output, kind, ("video", "prompt"), rows)
    repeated = f", {len(survey):,} clips as often as an epoch takes them" if len(rows) > len(survey) else ""
    say(
        [
            f"wrote {output}: {number_of(len(rows), 'row')}{repeated}",
            "next: train with --dataset_base_path "
            f"{shlex.quote(str(output.parent))} --dataset_metadata_path {shlex.quote(str(output))}",
        ]
    )
    return OK


def _report_of(arguments: argparse.Namespace) -> str:
    from pytest_wanlora.reports.commands import typed

    options = ("base", "prompt_column", "video_column", "videos")
    given = [
        word
        for name in options
        if (value := getattr(arguments, name)) not in (None, "exist")
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return typed("python", "-m", "pytest_wanlora", "data", "report", str(arguments.metadata), *given)


def _within(video: str | None, base: Path, folder: Path) -> str:
    """The name of a video as seen from the folder of the new table."""
    if video is None or video.startswith(URLS):
        return video or ""
    path = (base / video).absolute()
    return (
        path.relative_to(folder.absolute()).as_posix()
        if path.is_relative_to(folder.absolute())
        else str(path)
    )


def _categorize(arguments: argparse.Namespace) -> int:
    kind = arguments.output.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise DataError(
            f"--output: {arguments.output} does not end in {' or '.join(f'.{each}' for each in FORMATS)}",
            options={"--output": str(arguments.output.with_suffix(".csv"))},
        )
    check_output(arguments.output, sources=[arguments.metadata], overwrite=arguments.overwrite)
    suite = suite_of(arguments)
    rules = rules_of(arguments, suite)
    similarity = similarity_of(arguments, suite)
    survey = take(source_of(arguments, check_videos=False, near=False), rules, progress=progress("rows"))
    with survey.source.open() as metadata:
        found = decisions(metadata, rules, similarity, survey.shared)
        columns = [metadata.unit, "video", "prompt", *COLUMNS]
        texts = kind in ("csv", "tsv")
        records = ([str(row[name]) for name in columns] for row in found) if texts else found
        write_table(arguments.output, kind, columns, records)
    say([f"wrote {arguments.output}", *survey.shared.notes])
    return OK


def _shares(arguments: argparse.Namespace, rules: Rules) -> dict[str, Fraction]:
    if arguments.share is None and arguments.toward is None:
        raise DataError(
            "--share or --toward must say which shares are wanted",
            options={"--share": balance.equal_shares(rules.names)},
        )
    shares = (
        dict.fromkeys(rules.names, Fraction(1, len(rules.names)))
        if arguments.share is None
        else balance.parse_shares(arguments.share)
    )
    balance.check_shares(shares, rules.names)
    if arguments.toward is not None:
        shares = balance.raised(shares, balance.outcomes(arguments.toward, arguments.candidate))
    return shares


def _target(arguments: argparse.Namespace, suite: Suite | None) -> Target:
    given = ("height", "width", "frames", "multiple", "workers")
    unread = [f"--{name}" for name in given if getattr(arguments, name) is not None]
    if unread and arguments.videos != "read":
        raise DataError(
            f"{', '.join(unread)}: said only of videos that are read", options={"--videos": "read"}
        )
    if (arguments.height is None) != (arguments.width is None):
        alone = "--height" if arguments.width is None else "--width"
        raise DataError(
            "--height and --width are given together, or neither for each video's own size",
            options={alone: False},
        )
    height, width, frames = arguments.height, arguments.width, arguments.frames or 81
    if suite is not None:
        frames = arguments.frames or suite.sampling.frames
        if height is None:
            height, width = suite.sampling.height, suite.sampling.width
    return Target(height=height, width=width, frames=frames, multiple=arguments.multiple or _TI2V_MULTIPLE)


def _output_kind(output: Path, source: Path) -> str:
    """The form of a table that is drawn from a source: its own, or any where the source is no such table."""
    kind = output.suffix.lower().removeprefix(".")
    own = source.suffix.lower().removeprefix(".")
    wanted = (own,) if own in FORMATS and not source.is_dir() else FORMATS
    if kind not in wanted:
        endings = " or ".join(f".{each}" for each in wanted)
        raise DataError(
            f"--output: {output} does not end in {endings}" + (f", as {source} does" if kind != own else ""),
            options={"--output": str(output.with_suffix(f".{wanted[0]}"))},
        )
    return kind
