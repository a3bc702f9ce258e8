"""All reports of a run beside its record: each is a view of it, and none can spoil another."""

from __future__ import annotations

import errno
import shutil
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module, util
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_wanlora.errors import SettingsError, WanloraError
from pytest_wanlora.files import from_here, listing, write_whole
from pytest_wanlora.registry import Extension, ExtensionFile, extensions
from pytest_wanlora.reports.commands import file_name, typed

if TYPE_CHECKING:
    from pytest_wanlora.phrases import Language
    from pytest_wanlora.results.run_record import RunRecord

EXPORTS: Final[Mapping[str, str]] = MappingProxyType(
    {"tensorboard": "pytest_wanlora.reports.tensorboard", "wandb": "pytest_wanlora.reports.wandb"}
)
"""Exporters of this package, each an extra of the same name: its library, and the module here."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        paths: The files, the page for people first; sample videos are not listed.
        problems: One line for each that could not be, then the next commands.
        unsigned: A receipt was to be signed and is not there: such a run must not end well.
    """

    paths: tuple[Path, ...]
    problems: tuple[str, ...]
    unsigned: bool


@dataclass(frozen=True)
class Report:
    """A report of another package, named by an entry point of the group `wanlora.reports`.

    Attributes:
        write: Called with the record and the folder of the run; returns the paths of the files it wrote.
        files: What it needs on this machine.
    """

    write: Callable[[RunRecord, Path], Iterable[Path]]
    files: tuple[ExtensionFile, ...] = ()


@cache
def added_reports() -> tuple[Extension[Report], ...]:
    """The reports of installed packages.

    Raises:
        ExtensionError: One of them cannot be used.
    """
    return extensions("wanlora.reports", Report, taken=EXPORTS)


def exporter(name: str) -> Report:
    """An exporter of this package.

    Raises:
        SettingsError: Its library is not installed.
    """
    if util.find_spec(name) is None:
        raise SettingsError(
            f"--wanlora-export (ini: wanlora_export): {name}: its library is not installed here",
            next_command=f"pip install 'pytest-wanlora[{name}]'",
        )
    made: Report = import_module(EXPORTS[name]).REPORT
    return made


def prepare() -> None:
    """Import what `write_all` needs and compile its templates: half of the time that it would take."""
    from pytest_wanlora.phrases import LANGUAGES
    from pytest_wanlora.reports import figure, html, model_card  # noqa: F401 - so that they are imported
    from pytest_wanlora.reports.markdown_filters import environment

    pages = {".html.j2": [html.environment()], ".md.j2": [environment(language) for language in LANGUAGES]}
    for ending, environments in pages.items():
        for made in environments:
            for name in made.list_templates():
                if name.endswith(ending):
                    made.get_template(name)


def write_all(
    record: RunRecord,
    folder: Path,
    *,
    sign_key: Path | None = None,
    all_cards: bool = False,
    exports: Sequence[str] = (),
) -> Written:
    """Write every report of a run.

    A receipt that was to be signed and cannot be is not written at all: one without its signature could be
    taken for one that nobody asked to sign. A run that measured the model without LoRA has no reports.

    Args:
        record: The run.
        folder: Of the run; `results.json` lies in it.
        sign_key: Signs the receipts.
        all_cards: Write a model card of checkpoints that may not be published too.
        exports: Names of exporters, see `EXPORTS`.
    """
    candidates = [card.name for card in record.candidates if card.sha256 is not None]
    paths: list[Path] = []
    problems: list[str] = []
    following: dict[str, None] = {}

    def write(name: str, view: Callable[[Path], Iterable[Path]]) -> bool:
        path = folder / name
        try:
            paths.extend(view(path))
        # whatever goes wrong in one view, a mistake in it included, must not cost the others
        except Exception as error:  # noqa: BLE001
            problems.append(f"{name} was not written: {_one_line(error)}")
            if (command := _next(error, record, folder)) is not None:
                following[f"next: {command}"] = None
            return False
        return True

    if candidates or record.race is not None:
        write("report.html", partial(_html, record))
        write("report.md", partial(_markdown, record, "en"))
        write("report.ko.md", partial(_markdown, record, "ko"))
        write("figure.png", partial(_figure, record))
    receipts = [
        write(file_name(record, name, "receipt", ".json"), partial(_receipt, record, name, sign_key))
        for name in candidates
    ]
    for card in record.candidates:
        if card.sha256 is not None and (card.publishable or all_cards):
            write(file_name(record, card.name, "model-card", ".md"), partial(_card, record, card.name))
    for name in exports if candidates else ():
        write(name, partial(_export, record, name))
    for added in added_reports() if candidates else ():
        try:
            paths.extend(Path(path) for path in added.value.write(record, folder))
        # code of another package: its report is lost, and the whole traceback says where
        except Exception:  # noqa: BLE001
            where = textwrap.indent(traceback.format_exc().rstrip(), "  ")
            problems.append(f"the report {added.name} of {added.distribution} failed:\n{where}")
    # reports that were lost have mostly one cause
    return Written(tuple(paths), (*problems, *following), unsigned=sign_key is not None and not all(receipts))


def remove_receipts(record: RunRecord, folder: Path) -> None:
    """Remove the receipts of a run with their signatures and bundles, before its record is written again.

    Args:
        record: The run.
        folder: Of the run.

    Raises:
        OSError: One of them cannot be removed.
    """
    from pytest_wanlora.publishing.bundle import bundle_path
    from pytest_wanlora.publishing.verify import signature_path

    for card in record.candidates:
        path = folder / file_name(record, card.name, "receipt", ".json")
        path.unlink(missing_ok=True)
        signature_path(path).unlink(missing_ok=True)
        bundle_path(path).unlink(missing_ok=True)


def _receipt(record: RunRecord, candidate: str, sign_key: Path | None, path: Path) -> Iterator[Path]:
    from pytest_wanlora.publishing import bundle, receipt, ssh_signature
    from pytest_wanlora.publishing.verify import signature_path

    statement = receipt.statement(record, candidate)
    data = receipt.canonical(statement)
    if sign_key is not None:
        if bundle.why_not(sign_key) is None:
            write_whole(bundle.bundle_path(path), bundle.sign(statement, sign_key))
            yield bundle.bundle_path(path)
        # first, so that a disk that is full now leaves no receipt that merely looks unsigned
        write_whole(signature_path(path), ssh_signature.sign(data, sign_key))
        yield signature_path(path)
    write_whole(path, data)
    yield path


def _export(record: RunRecord, name: str, path: Path) -> Iterable[Path]:
    return exporter(name).write(record, path.parent)


def _html(record: RunRecord, path: Path) -> Iterator[Path]:
    from pytest_wanlora.reports import html

    made = html.made(record, path.parent)
    for address, source in made.beside.items():
        target = path.parent / address
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    write_whole(path, made.text.encode())
    yield path


def _markdown(record: RunRecord, language: Language, path: Path) -> Iterator[Path]:
    from pytest_wanlora.reports import markdown

    write_whole(path, markdown.page(record, language).encode())
    yield path


def _figure(record: RunRecord, path: Path) -> Iterator[Path]:
    from pytest_wanlora.reports import figure

    drawn = figure.png(record, path.parent)
    if drawn is not None:
        write_whole(path, drawn)
        yield path


def _card(record: RunRecord, candidate: str, path: Path) -> Iterator[Path]:
    from pytest_wanlora.reports import model_card

    copied = []
    for sample in model_card.samples(record, candidate):
        source, target = path.parent / sample.source, path.parent / sample.path
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(sample)
    write_whole(path, model_card.fragment(record, candidate, copied).encode())
    yield path


def _next(error: Exception, record: RunRecord, folder: Path) -> str | None:
    """The next command; None for a mistake in a view, which only we can mend."""
    if isinstance(error, WanloraError):
        return error.next_command or None
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # everything is in the cache, so that the run takes seconds
        full = typed("df", "-h", from_here(folder))
        return f"free space where {full} shows none, then {typed(*record.command)}"
    return listing(folder)


def _one_line(error: Exception) -> str:
    known = isinstance(error, (WanloraError, OSError))
    text = error.message if isinstance(error, WanloraError) else str(error)
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(str(part) for part in (error.strerror, error.filename) if part)
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line[:300] if known else f"{type(error).__name__}: {line[:300]}"
