"""`clean`: delete the cache entries that were not used for the longest time, and old runs."""

from __future__ import annotations

import argparse
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pytest_wanlora import cleaning
from pytest_wanlora.cli.output import BAD, OK, complain, say
from pytest_wanlora.errors import JobError, SettingsError
from pytest_wanlora.files import listing

if TYPE_CHECKING:
    from pytest_wanlora.cleaning import CacheContents, Entry, Run, RunsContents
    from pytest_wanlora.jobs.cache import Cache

_CACHE: Final = Path(".wanlora/cache")
_RUNS: Final = Path(".wanlora/runs")
_UNITS: Final = {
    **{name: 1000**power for power, name in enumerate(("b", "kb", "mb", "gb", "tb", "pb"))},
    **{name: 1024**power for power, name in enumerate(("kib", "mib", "gib", "tib", "pib"), start=1)},
}
_SHOWN_CANDIDATES: Final = 10
_Folder = TypeVar("_Folder", "Entry", "Run")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "clean",
        help="delete cached videos until the cache is below a size, and old runs",
        description=(
            "Without a limit, says what there is and deletes nothing. The videos that were not used for the "
            "longest time are deleted first; a run that needs them renders them again. A run's folder is "
            "deleted with its reports and receipts. What a run in progress uses stays, and so do files of "
            "others. Exit code 1 if a limit could not be reached."
        ),
    )
    parser.add_argument(
        "--cache-dir", metavar="FOLDER", help=f"where rendered jobs are kept; default: {_CACHE}"
    )
    parser.add_argument("--runs", metavar="FOLDER", help=f"where runs are kept; default: {_RUNS}")
    parser.add_argument("--keep-size", metavar="SIZE", help="most that the cache may hold then, such as 20GB")
    parser.add_argument("--keep-runs", metavar="N", help="how many of the newest runs to keep")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be deleted, and delete nothing"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    # not above: `verify` runs where filelock is not installed
    from pytest_wanlora.jobs.cache import Cache

    limit = None if arguments.keep_size is None else parse_size(arguments.keep_size)
    newest = None if arguments.keep_runs is None else _parse_count(arguments.keep_runs)
    cache_dir = _folder(arguments.cache_dir, _CACHE, "--cache-dir")
    runs_dir = _folder(arguments.runs, _RUNS, "--runs")
    if cache_dir is None and runs_dir is None:
        raise SettingsError(
            f"neither {_CACHE} nor {_RUNS} is in {Path.cwd()}; allowed: the folder in which pytest ran, or "
            "--cache-dir and --runs with what it wrote to",
            next_command="find . -type d -name .wanlora",
        )
    # both are looked at before anything is deleted: one of them may be refused
    cache = None if cache_dir is None else Cache(cache_dir)
    contents = None if cache is None else _look_at_cache(cache)
    runs = None if runs_dir is None else _look_at_runs(runs_dir)
    missing = [str(path) for path, at in ((_CACHE, cache_dir), (_RUNS, runs_dir)) if at is None]
    say(f"{path}: not here, so there is nothing to delete" for path in missing)
    code = OK
    if cache is not None and contents is not None:
        say(_cache_lines(cache.folder, contents))
        if limit is not None:
            code = max(code, _shrink(cache, contents, limit, dry=arguments.dry_run))
    if runs_dir is not None and runs is not None:
        say(_runs_lines(runs_dir, runs))
        if newest is not None:
            code = max(code, _drop_runs(runs, newest, dry=arguments.dry_run))
    if limit is None and newest is None:
        say(["nothing was deleted: no limit was given", f"next: {_example(arguments)}"])
    return code


def parse_size(text: str) -> int:
    """Read a size such as `20GB`, `1.5 TB` or `500 MiB`.

    Args:
        text: A number and a unit, in capitals or not: B, kB, MB, GB, TB, PB (powers of 1000) or KiB, MiB,
            GiB, TiB, PiB (powers of 1024). Only 0 needs no unit.

    Returns:
        Bytes.

    Raises:
        SettingsError: It is anything else.
    """
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    if found is not None:
        number, unit = Decimal(found[1]), found[2].lower()
        if unit in _UNITS or (not unit and number == 0):
            return int(number * _UNITS.get(unit, 0))
    raise SettingsError(
        f"--keep-size: {text!r} is not a size; allowed: a number and a unit, such as 20GB, 1.5TB or 500MiB "
        "(B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB)",
        next_command="python -m pytest_wanlora clean --keep-size 20GB --dry-run",
    )


def _parse_count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise SettingsError(
            f"--keep-runs: {text!r} is not allowed; allowed: a whole number from 0",
            next_command="python -m pytest_wanlora clean --keep-runs 20 --dry-run",
        )
    return int(text)


def shown_size(count: int) -> str:
    """Bytes in the largest unit of which there is at least one, powers of 1000."""
    power = min((len(str(count)) - 1) // 3, 5)
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def _folder(given: str | None, default: Path, option: str) -> Path | None:
    """The folder to clean; None if none was named and the default one does not exist."""
    folder = default if given is None else Path(given)
    if folder.is_dir():
        return folder
    if given is None and not folder.exists():
        return None
    raise SettingsError(
        f"{option}: {str(folder)!r} is not a folder; allowed: the folder that the gate wrote to",
        next_command=listing(folder),
    )


def _look_at_cache(cache: Cache) -> CacheContents:
    contents = _read(cleaning.look_at_cache, cache, "--cache-dir", cache.folder)
    if contents.others and not contents.entries and not cache.locks.is_dir():
        raise _wrong_folder(
            "--cache-dir", cache.folder, "a cache of rendered videos", contents.others, "cache"
        )
    return contents


def _look_at_runs(folder: Path) -> RunsContents:
    contents = _read(cleaning.look_at_runs, folder, "--runs", folder)
    # a run that has not ended has no record yet
    unfinished = any((folder / name / "board").is_dir() for name in contents.others)
    if contents.others and not contents.runs and not contents.leftovers and not unfinished:
        raise _wrong_folder("--runs", folder, "a folder of runs", contents.others, "runs")
    return contents


_Place = TypeVar("_Place")
_Contents = TypeVar("_Contents")


def _read(look: Callable[[_Place], _Contents], place: _Place, option: str, folder: Path) -> _Contents:
    try:
        return look(place)
    except OSError as error:
        raise SettingsError(
            f"{option}: {str(folder)!r} cannot be read: {error.strerror}",
            next_command=f"ls -ld {shlex.quote(str(folder))}",
        ) from error


def _wrong_folder(option: str, folder: Path, what: str, others: Sequence[str], name: str) -> SettingsError:
    from pytest_wanlora.reports.commands import typed

    below = next((each for each in (folder / ".wanlora" / name, folder / name) if each.is_dir()), None)
    return SettingsError(
        f"{option}: {str(folder)!r} is not {what}: the gate wrote nothing of what is there "
        f"({len(others)}, such as {others[0]!r}); nothing was deleted; allowed: the folder that "
        f"--wanlora-{'output' if name == 'runs' else name}-dir named",
        # not with the limits that were typed: what is there is shown first
        next_command=listing(folder)
        if below is None
        else typed("python", "-m", "pytest_wanlora", "clean", option, str(below)),
    )


def _cache_lines(folder: Path, contents: CacheContents) -> Iterator[str]:
    videos = [entry for entry in contents.entries if entry.candidate not in (None, cleaning.SUBJECTS)]
    pictures = sum(entry.size for entry in contents.entries if entry.candidate == cleaning.SUBJECTS)
    used = f", last used from {_day(videos[0].used)} to {_day(videos[-1].used)}" if videos else ""
    yield f"{folder}: {shown_size(contents.size)}, {_count(len(videos), 'video')}{used}"
    if pictures:
        yield f"  {shown_size(pictures)} of it are made of the pictures and clips of subjects"
    if contents.shared:
        yield f"  {shown_size(contents.shared)} of it are prompt embeddings and compiled code, which are kept"
    yield from _others(contents.others)


def _runs_lines(folder: Path, contents: RunsContents) -> Iterator[str]:
    size = sum(run.size for run in contents.runs)
    yield f"{folder}: {shown_size(size)}, {_count(len(contents.runs), 'run')} with a record"
    yield from _others(contents.others)


def _others(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"  left alone: {_count(len(names), 'other')} such as {names[0]!r}"


def _shrink(cache: Cache, contents: CacheContents, limit: int, *, dry: bool) -> int:
    chosen = cleaning.choose(cache, contents, limit)
    gone = chosen if dry else _delete(chosen, lambda entry: cleaning.delete(cache, entry))
    freed = sum(entry.size for entry in gone)
    say(_deleted(len(gone), "entry", freed, dry=dry))
    counted = Counter(entry.candidate or "left by processes that died" for entry in gone)
    say(f"    {name}: {_count(count, 'entry')}" for name, count in counted.most_common(_SHOWN_CANDIDATES))
    if len(counted) > _SHOWN_CANDIDATES:
        say([f"    and of {len(counted) - _SHOWN_CANDIDATES} other candidates"])
    left = contents.size - freed
    say([f"  {shown_size(left)} {'would stay' if dry else 'stay'}"])
    if left <= limit:
        return OK
    still = f"{cache.folder}: still above {shown_size(limit)}: "
    if contents.shared > limit:
        from pytest_wanlora.reports.commands import typed

        words = ["--cache-dir", str(cache.folder), "--keep-size", f"{-(-contents.shared // 1000)}kB"]
        complain(
            f"{still}{shown_size(contents.shared)} are prompt embeddings and compiled code, which clean "
            "keeps: all runs share them, and to make them again takes the text encoder or a compilation\n"
            f"next: {typed('python', '-m', 'pytest_wanlora', 'clean', *words, *['--dry-run'] * dry)}"
        )
    else:
        complain(
            f"{still}the rest is in use by a run, or cannot be deleted\n"
            "next: run the same command when no run is in progress"
        )
    return BAD


def _drop_runs(contents: RunsContents, newest: int, *, dry: bool) -> int:
    old = contents.runs[: max(0, len(contents.runs) - newest)]
    chosen = (*contents.leftovers, *old)
    gone = chosen if dry else _delete(chosen, cleaning.delete_run)
    say(_deleted(len(gone), "run", sum(run.size for run in gone), dry=dry))
    say(f"    {run.folder.name}: {shown_size(run.size)}" for run in gone)
    if old:
        say(["  receipts count the runs that are still there: `verify --max-runs` no longer sees these"])
    return OK if len(gone) == len(chosen) else BAD


def _delete(chosen: Sequence[_Folder], delete: Callable[[_Folder], bool]) -> list[_Folder]:
    gone = []
    for each in chosen:
        try:
            if delete(each):
                gone.append(each)
        except (OSError, JobError) as error:
            complain(f"{each.folder} was not deleted: {str(error).splitlines()[0]}")
    return gone


def _deleted(count: int, what: str, size: int, *, dry: bool) -> Iterator[str]:
    yield f"  {'would delete' if dry else 'deleted'} {_count(count, what)}, {shown_size(size)}"


def _count(count: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def _example(arguments: argparse.Namespace) -> str:
    from pytest_wanlora.reports.commands import typed

    named = (("--cache-dir", arguments.cache_dir), ("--runs", arguments.runs))
    words = [word for option, value in named if value is not None for word in (option, value)]
    limits = ("--keep-size", "20GB", "--keep-runs", "20", "--dry-run")
    return typed("python", "-m", "pytest_wanlora", "clean", *words, *limits)
