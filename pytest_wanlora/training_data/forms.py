"""Training data as trainers keep it: tables, folders and archives of clips with captions, and their configs.

musubi-tuner, ai-toolkit, diffusion-pipe and kohya's trainers read folders with a caption beside each clip
(`clip.mp4`, `clip.txt`), tables, or a config that names several of both with their repeats; fal reads an
archive of such a folder. The captions are read as the trainer would, the clips are not opened.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from pytest_wanlora.errors import DataError, EncodingError, PackedError
from pytest_wanlora.files import file_sha256, read_regular
from pytest_wanlora.training_data.encodings import check_start, undecodable, unreadable
from pytest_wanlora.training_data.metadata import FORMATS, Metadata, Row
from pytest_wanlora.training_data.videos import ENDINGS, is_url, placed
from pytest_wanlora.training_data.yaml_text import parse

_Folder = Path | zipfile.Path

_CONFIGS: Final = ("toml", "yaml", "yml")
_CAPTIONS: Final = (".txt", ".caption")
_REPEATS: Final = re.compile(r"([1-9]\d*)_")  # kohya's name of a folder: 10_qqvv
# musubi-tuner, kohya, diffusion-pipe, ai-toolkit, finetrainers; a key `path` elsewhere names something else
_PARTS: Final = ("general", "datasets", "subsets", "directory", "config", "process")
_PLACES: Final = (
    *("path", "folder_path", "dataset_path", "image_dir", "video_dir", "image_directory", "video_directory"),
    *("train_data_dir", "data_root", "metadata_file", "in_json", "image_jsonl_file", "video_jsonl_file"),
)


@dataclass(frozen=True)
class _Settings:
    """What a config says of a folder."""

    repeats: int = 1
    endings: tuple[str, ...] = _CAPTIONS
    prefix: str = ""
    suffix: str = ""
    default: str | None = None


class Clips:
    """Reads a folder, an archive or a config once, as `Metadata` reads a table.

    Args:
        path: A folder, a .zip file, or a config of a trainer.
        table: Reads the tables in it.
        columns: Names of columns that a table must be there for.

    Attributes:
        kind: `folder`, `archive` or `config`.
        columns: Those of a table with the same rows.
        unit: What `Row.place` counts.
        files: The files that were read: captions, tables, configs.
        notes: What the user should know of how it was read.
        size: 0, since how much there is to read is not known before.
        position: 0.
    """

    columns = ("video", "prompt")
    unit = "clip"
    size = 0
    position = 0

    def __init__(
        self, path: Path, table: Callable[[Path], Metadata] = Metadata, columns: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.kind = "folder" if path.is_dir() else "archive" if _ending(path) == "zip" else "config"
        self.files: list[Path] = []
        self.notes: list[str] = []
        self._table, self._unused = table, columns
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def __iter__(self) -> Iterator[Row]:
        """Read the rows; at least one. The names of clips in a config are absolute."""
        numbers = count(1)
        if self.kind == "config":
            rows = self._of_config(_mapping(self.path), _Settings())
        elif self.kind == "archive":
            rows = self._of_folder(self._opened(), _Settings())
        else:
            rows = self._of_folder(self.path, _Settings())
        for row in rows:
            video = row.video
            # a table in the folder may name videos elsewhere
            if video is not None and self.kind == "folder" and not is_url(video):
                path = Path(video)
                video = path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else video
            record = [video or "", row.prompt or ""]
            yield Row(next(numbers), row.prompt, video, record, row.repeats)
        if next(numbers) == 1:
            raise self._refused("it names no folder of clips and no table", ".")
        if self._unused:
            raise DataError(
                f"{self.path}: there is no column {self._unused[0]!r}, since there is no table in it but "
                "clips with captions beside them",
                options={"--prompt-column": False, "--video-column": False},
            )

    def _refused(self, message: str, word: str) -> DataError:
        return DataError(
            f"{self.path}: {message}", next_command=f"grep -n {word} {shlex.quote(str(self.path))}"
        )

    def _opened(self) -> zipfile.Path:
        self.files.append(self.path)
        try:
            self._archive = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.path} cannot be read: {error}", next_command=f"unzip -l {shlex.quote(str(self.path))}"
            ) from error
        return zipfile.Path(self._archive)

    def _of_config(self, config: Mapping[str, Any], outer: _Settings) -> Iterator[Row]:
        if isinstance(config.get("general"), Mapping):
            outer = self._settings(config["general"], outer)
        settings = self._settings(config, outer)
        found = [name for name in _PLACES if config.get(name) is not None]
        wrong = next((name for name in found if not isinstance(config[name], str)), None)
        if wrong is not None:
            raise self._refused(f"{wrong}: {config[wrong]!r} is not the path of a folder or a table", wrong)
        if found == ["image_dir", "metadata_file"]:
            found = ["metadata_file"]  # kohya's table names clips of that folder
        for name in found:
            yield from self._of_place(name, config[name], settings, config.get("image_dir"))
        for name in _PARTS:
            inner = config.get(name)
            if name == "general" or inner is None:
                continue
            for part in inner if isinstance(inner, list) else [inner]:
                if isinstance(part, Mapping):
                    yield from self._of_config(part, settings)
                elif name in ("datasets", "subsets"):
                    raise self._refused(
                        f"{name}: {part!r} is no table of settings; allowed: one with a path", name
                    )

    def _settings(self, config: Mapping[str, Any], outer: _Settings) -> _Settings:
        repeats = config.get("num_repeats", config.get("repeats", outer.repeats))
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise self._refused(f"num_repeats: {repeats!r} is not a whole number from 1", "repeats")
        ending = config.get("caption_extension", config.get("caption_ext"))
        return replace(
            outer,
            repeats=repeats,
            endings=(f".{str(ending).lstrip('.')}",) if ending else outer.endings,
            prefix=str(config.get("caption_prefix") or outer.prefix),
            suffix=str(config.get("caption_suffix") or outer.suffix),
            default=config.get("class_tokens", config.get("default_caption", outer.default)),
        )

    def _of_place(self, key: str, named: str, settings: _Settings, clips: str | None) -> Iterator[Row]:
        place = self._found(named)
        if place is None:
            why = f"there is no {named!r}, neither beside the config nor in {Path.cwd()}"
            raise self._refused(f"{key}: {f'{named} is a URL, not fetched' if is_url(named) else why}", key)
        if place.is_dir():
            yield from self._of_folder(place, settings)
        else:
            base = self._found(clips) if clips else None
            yield from self._of_table(place, base or place.parent, settings)

    def _found(self, named: str) -> Path | None:
        # trainers start from the working folder; a config that was copied with its data, from its own
        places = (self.path.parent / named, Path(named))
        for place in places:
            # a name that no file can have is not there either
            with suppress(OSError, ValueError, RuntimeError):
                if place.exists():
                    return place.resolve()
        return None

    def _of_table(self, path: Path, base: Path, settings: _Settings) -> Iterator[Row]:
        self._unused = ()
        with self._table(path) as table:
            self.files.append(path)
            for row in table:
                yield row._replace(
                    prompt=_whole(row.prompt, settings),
                    video=placed(row.video, base),
                    repeats=row.repeats * settings.repeats,
                )
            self.notes += [f"{path.name}: {note}" for note in table.notes]

    def _of_folder(self, folder: _Folder, settings: _Settings) -> Iterator[Row]:
        rows = list(self._walked(folder, settings))
        if not rows:
            archive = self.kind == "archive"
            where, look = (self.path, "unzip -l") if archive else (folder, "ls")
            within = "" if where == self.path else f"{self.path}: "
            raise DataError(
                f"{within}{where} has no clip with a caption beside it, such as clip.mp4 and clip.txt"
                + ("" if archive else ", and no table"),
                next_command=f"{look} {shlex.quote(str(where))}",
            )
        yield from rows

    def _walked(self, folder: _Folder, settings: _Settings) -> Iterator[Row]:
        """The clips of a folder; of one that has none, those of its folders."""
        entries = [each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX"))]
        entries.sort(key=lambda each: each.name)
        files = {each.name: each for each in entries if each.is_file()}
        clips = [name for name in files if _ending(name) in ENDINGS]
        captions = {name for name in files if name.endswith(settings.endings)}
        beside = {clip: self._beside(clip, captions, settings) for clip in clips}
        tables = [name for name in files if _ending(name) in FORMATS]
        if tables and not any(beside.values()):
            if not isinstance(folder, Path):
                raise packed(
                    self.path,
                    f"{self.path}: {', '.join(_name(files[name]) for name in tables)}: a table is read in a "
                    "folder, not in a .zip; allowed in it: clips with captions beside them",
                )
            named = [name for name in tables if Path(name).stem in ("metadata", "captions")] or tables
            if len(named) > 1:
                first = shlex.quote(str(folder / named[0]))
                raise DataError(
                    f"{folder}: there are several tables in it: {', '.join(named)}; allowed: one",
                    next_command=f"python -m pytest_wanlora data report {first}",
                )
            yield from self._of_table(folder / named[0], folder, settings)
        elif clips:
            for clip in clips:
                text = self._read(files[beside[clip][0]]) if beside[clip] else None
                yield Row(0, _whole(text, settings), _name(files[clip]), [], settings.repeats)
            several = [found for found in beside.values() if len(found) > 1]
            if several:
                read, unread, *_ = several[0]
                self.notes.append(
                    f"{len(several):,} clips have several captions, of which one is read, such as "
                    f"{_name(files[read])} and not {unread}"
                )
            orphans = sorted(captions.difference(*beside.values()))
            if orphans:
                self.notes.append(
                    f"{len(orphans):,} captions have no clip of their name and are not read, such as "
                    f"{_name(files[orphans[0]])}"
                )
        elif captions:
            # the clips are elsewhere
            for caption in sorted(captions):
                yield Row(0, _whole(self._read(files[caption]), settings), None, [], settings.repeats)
        else:
            for each in entries:
                if each.is_dir() and not _leads_back(each):
                    repeats = _REPEATS.match(each.name)
                    times = int(repeats[1]) if repeats else 1
                    yield from self._walked(each, replace(settings, repeats=settings.repeats * times))

    def _beside(self, clip: str, captions: set[str], settings: _Settings) -> list[str]:
        """The captions of a clip, the one that is read first."""
        stem = clip.rpartition(".")[0]
        names = (name for ending in settings.endings for name in (stem + ending, clip + ending))
        return [name for name in names if name in captions]

    def _read(self, file: _Folder) -> str | None:
        if isinstance(file, Path):
            self.files.append(file)
            return _caption(file, read_regular(file))
        data = self._unpacked(file)
        try:
            return _caption(self.path.with_suffix("") / file.at, data)
        except DataError as error:
            what, mend = f"{self.path}: unpacked, {error.message}", error.next_command
            whole = packed(self.path, what)
            if isinstance(error, EncodingError):
                whole.next_command = f"{whole.next_command} && {mend}"
                raise whole from error
            raise DataError(what, next_command=f"{whole.next_command} && {mend}") from error

    def _unpacked(self, file: zipfile.Path) -> bytes:
        try:
            return file.read_bytes()
        # of another compression, with a password, damaged
        except (RuntimeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{self.path}: {_name(file)} in it cannot be read: {error}",
                next_command=f"unzip -t {shlex.quote(str(self.path))}",
            ) from error


def opened(
    path: Path,
    *,
    prompt_column: str | None = None,
    video_column: str | None = None,
    needs_video: bool = True,
) -> Metadata | Clips:
    """Open training data of any form for one pass.

    Args:
        path: A table (`metadata.FORMATS`), a folder, a .zip file, or a config (.toml, .yaml).
        prompt_column: Name of the prompts' column, None for a usual one.
        video_column: Name of the videos' column, None for a usual one.
        needs_video: Whether a table without a column of videos is refused.
    """
    try:
        path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    table = partial(Metadata, prompt_column=prompt_column, video_column=video_column, needs_video=needs_video)
    columns = [name for name in (prompt_column, video_column) if name is not None]
    return (
        Clips(path, table, columns) if path.is_dir() or _ending(path) in ("zip", *_CONFIGS) else table(path)
    )


def packed(archive: Path, message: str) -> PackedError:
    """The error whose command unpacks an archive beside it, and keeps files that are there."""
    folder = archive.with_suffix("")
    unpack = f"unzip -n {shlex.quote(str(archive))} -d {shlex.quote(str(folder))}"
    return PackedError(message, next_command=unpack, archive=archive, folder=folder)


def digest(path: Path, files: list[Path]) -> str:
    """SHA-256 of training data: of the file, or of the names and digests of all files that were read."""
    digests = [file_sha256(file) for file in files]
    if files == [path]:
        return digests[0]
    # absolute paths would make the digest another one on every machine
    lines = sorted(f"{file.name}\0{value}\n" for file, value in zip(files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        text = read_regular(path).decode("utf-8")
        config = tomllib.loads(text) if _ending(path) == "toml" else parse(text)
    except UnicodeDecodeError as error:
        raise undecodable(path) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(
            f"{path} cannot be read: {why}", next_command=f"head {shlex.quote(str(path))}"
        ) from error
    if not isinstance(config, Mapping):
        raise DataError(f"{path}: it is no mapping", next_command=f"head {shlex.quote(str(path))}")
    return config


def _caption(file: Path, data: bytes) -> str | None:
    check_start(file, data, data)
    try:
        return data.decode("utf-8-sig").strip() or None
    except UnicodeDecodeError as error:
        raise undecodable(file, data) from error


def _leads_back(folder: _Folder) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return (
        isinstance(folder, Path)
        and folder.is_symlink()
        and folder.absolute().is_relative_to(folder.resolve())
    )


def _whole(text: str | None, settings: _Settings) -> str | None:
    text = text or settings.default
    return f"{settings.prefix}{text}{settings.suffix}" if text else None


def _ending(path: Path | str) -> str:
    return str(path).rpartition(".")[2].lower()


def _name(entry: _Folder) -> str:
    return str(entry) if isinstance(entry, Path) else entry.at
