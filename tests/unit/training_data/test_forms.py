from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.forms import digest, opened

Found = list[tuple[str | None, str | None, int]]


def write(folder: Path, **files: str) -> Path:
    """Write files; `__` in a name stands for a dot, `_in_` for a folder."""
    for name, text in files.items():
        path = folder / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def rows(path: Path) -> Found:
    with opened(path) as data:
        return [(row.video, row.prompt, row.repeats) for row in data]


def bad(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    assert "\nnext: " in str(caught.value)
    return str(caught.value)


def test_a_folder_of_clips_and_captions(tmp_path: Path) -> None:
    write(tmp_path, b__mp4="x", b__txt="a tram\n", a__PNG="x", a__txt="\ufeff벚꽃", c__mov="x", notes__md="x")
    assert rows(tmp_path) == [("a.PNG", "벚꽃", 1), ("b.mp4", "a tram", 1), ("c.mov", None, 1)]


def test_a_caption_without_a_clip_is_told_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, a__mp4="x", a__txt="a tram", readme__txt="how it was filmed")
    with opened(tmp_path) as data:
        assert [row.prompt for row in data] == ["a tram"]
    assert data.notes == [
        f"1 captions have no clip of their name and are not read, such as {tmp_path / 'readme.txt'}"
    ]


def test_the_second_caption_of_a_clip_is_told_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, a__mp4="x", a__txt="a tram", a__caption="a lake", b__mp4="x", b__mp4__caption="a hill")
    with opened(tmp_path) as data:
        assert [row.prompt for row in data] == ["a tram", "a hill"]
    assert data.notes == [
        f"1 clips have several captions, of which one is read, such as {tmp_path / 'a.txt'} and not a.caption"
    ]


def test_captions_alone_are_read_without_videos(tmp_path: Path) -> None:
    assert rows(write(tmp_path, a__txt="a tram", b__txt="a lake")) == [
        (None, "a tram", 1),
        (None, "a lake", 1),
    ]


def test_folders_in_a_folder_and_the_repeats_in_their_names(tmp_path: Path) -> None:
    write(tmp_path, **{"10_qqvv_in_a__mp4": "x", "10_qqvv_in_a__caption": "one", "other_in_b__mp4": "x"})
    assert rows(tmp_path) == [("10_qqvv/a.mp4", "one", 10), ("other/b.mp4", None, 1)]


def test_a_folder_with_a_table(tmp_path: Path) -> None:
    write(tmp_path, a__mp4="x", metadata__jsonl='{"file_name": "a.mp4", "text": "a tram"}\n')
    assert rows(tmp_path) == [("a.mp4", "a tram", 1)]
    write(tmp_path, a__txt="beside it")
    assert rows(tmp_path) == [("a.mp4", "beside it", 1)]


@pytest.mark.parametrize("absolute", [True, False])
def test_a_table_in_a_folder_may_name_videos_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.chdir(write(tmp_path, a__mp4="x"))
    video = str(tmp_path / "a.mp4")
    write(tmp_path, set_in_m__csv=f"video,prompt\n{video if absolute else 'a.mp4'},a tram\n")
    assert rows(Path("set")) == [(video, "a tram", 1)]


def test_the_captions_of_diffusion_pipe(tmp_path: Path) -> None:
    write(tmp_path, a__mp4="x", captions__json='{"a.mp4": ["one", "two"]}')
    assert rows(tmp_path) == [("a.mp4", "one", 1), ("a.mp4", "two", 1)]


def test_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name, text in (("set/a.mp4", "x"), ("set/a.txt", "a tram"), ("__MACOSX/set/._a.txt", "x")):
            archive.writestr(name, text)
    assert rows(tmp_path / "data.zip") == [("set/a.mp4", "a tram", 1)]


@pytest.mark.parametrize("names", [["metadata.csv"], ["set/m.csv", "set/n.jsonl"]])
def test_an_archive_with_a_table_is_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "my data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (f"{names[0].rpartition('/')[0]}/a.mp4".lstrip("/"), *names):
            archive.writestr(name, "video,prompt\na.mp4,a tram\n")
    message = bad(path)
    assert f"my data.zip: {', '.join(names)}: a table is read in a folder" in message
    folder = f"'{tmp_path / 'my data'}'"
    assert message.endswith(f"unzip -n '{path}' -d {folder}")


MUSUBI = """
[general]
caption_extension = ".caption"
num_repeats = 2
[[datasets]]
video_directory = "clips"
[[datasets]]
video_jsonl_file = "more/m.jsonl"
num_repeats = 5
"""
KOHYA = """
[[datasets]]
num_repeats = 3
  [[datasets.subsets]]
  image_dir = "clips"
  caption_extension = ".caption"
  caption_prefix = "qqvv, "
  [[datasets.subsets]]
  image_dir = "more"
  class_tokens = "qqvv man"
  num_repeats = 4
"""
DIFFUSION_PIPE = """
num_repeats = 7
[[directory]]
path = "clips"
"""
AI_TOOLKIT = """
job: extension
config:
  name: x
  process:
    - type: sd_trainer
      datasets:
        - folder_path: clips
          caption_ext: caption
      model: {name_or_path: none}
"""


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("m.toml", MUSUBI, [("clips/a.mp4", "a tram", 2), ("more/b.mp4", "a lake", 5)]),
        ("m.toml", KOHYA, [("clips/a.mp4", "qqvv, a tram", 3), ("more/b.mp4", "qqvv man", 4)]),
        ("m.toml", DIFFUSION_PIPE, [("clips/a.mp4", "a tram", 7)]),
        ("m.yaml", AI_TOOLKIT, [("clips/a.mp4", "a tram", 1)]),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_configs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    config: str,
    expected: Found,
    beside: bool,
) -> None:
    data = write(tmp_path / "data", clips_in_a__mp4="x", clips_in_a__caption="a tram")
    table = "" if config is KOHYA else '{"video_path": "more/b.mp4", "caption": "a lake"}'
    write(data, more_in_b__mp4="x")
    if table:
        write(data, more_in_m__jsonl=table if not beside else table.replace("more/", ""))
    folder = data if beside else tmp_path / "configs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(config)
    monkeypatch.chdir(tmp_path if beside else data)
    assert rows(folder / name) == [(str(data / str(video)), *rest) for video, *rest in expected]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.toml", '[[directory]]\npath = "gone"\n', ["m.toml: path: there is no 'gone'"]),
        ("m.toml", "[[directory]]\npath = 3\n", ["path: 3 is not the path of a folder"]),
        ("m.toml", '[[directory]]\npath = "."\nnum_repeats = 0.5\n', ["num_repeats: 0.5 is not a whole"]),
        ("m.toml", "lr = 1e-4\n", ["names no folder of clips"]),
        ("m.toml", "[[directory\n", ["m.toml cannot be read", "line 1"]),
        ("m.yaml", "- a\n", ["it is no mapping"]),
        ("m.yaml", "a: [\n", ["m.yaml cannot be read: line 2: not YAML: "]),
        ("m.yaml", "a: 2024-13-45", ["m.yaml cannot be read: not YAML: month must be in 1..12"]),
        (
            "m.yaml",
            "a: " + "[" * 3000,
            ["m.yaml cannot be read: line 1: not YAML: exceeded maximum nest"],
        ),
        ("m.toml", "a = " + "[" * 3000, ["m.toml cannot be read: it is nested too deeply"]),
        ("m.yaml", "datasets: [clips, {path: .}]", ["m.yaml: datasets: 'clips' is no table of settings"]),
        ("m.yaml", "path: a\npath: b", ["line 2: not YAML: the key 'path' is written twice"]),
        ("m.zip", "no archive", ["m.zip cannot be read", "not a zip"]),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, name: str, text: str, words: list[str]) -> None:
    message = bad(write(tmp_path, **{name.replace(".", "__"): text}) / name)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("place", "bit", "why"), [(8, 99, "compression method is not supported"), (6, 1, "is encrypted")]
)
def test_an_archive_that_cannot_be_unpacked_is_refused(
    tmp_path: Path, place: int, bit: int, why: str
) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a tram")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"a tram", b"a TRAM"))
    assert "a.txt in it cannot be read: Bad CRC-32" in bad(path)
    for mark, at in ((b"PK\3\4", place), (b"PK\1\2", place + 2)):
        start = whole.index(mark) + at
        whole = whole[:start] + bytes([bit]) + whole[start + 1 :]
    path.write_bytes(whole)
    assert why in bad(path)


@pytest.mark.parametrize("names", [[], ["../evil.mp4"], ["notes.md"]])
def test_an_archive_without_clips_is_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    assert bad(path) == (
        f"{path} has no clip with a caption beside it, such as clip.mp4 and clip.txt\nnext: unzip -l {path}"
    )


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp949", "is not UTF-8: byte 0xba at offset 0, line 1; the whole file reads as CP949"),
        ("utf-16", "is UTF-16, the training reads UTF-8"),
    ],
)
def test_a_caption_of_another_encoding_in_an_archive_is_refused(
    tmp_path: Path, encoding: str, said: str
) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/a.txt", "벚꽃이 핀 연못".encode(encoding))
    message, _, command = bad(path).partition("\nnext: ")
    folder = tmp_path / "data"
    assert message == f"{path}: unpacked, {folder}/set/a.txt {said}"
    unpack, absent, keep, iconv = command.split(" && ")
    assert unpack == f"unzip -n {path} -d {folder}"
    kept = f"{folder}/set/a.txt.{encoding}"
    assert (absent, keep) == (f"test ! -e {kept}", f"mv {folder}/set/a.txt {kept}")
    assert iconv == f"iconv -f {encoding.upper()} -t UTF-8 {kept} > {folder}/set/a.txt"


def test_an_encoding_that_cannot_be_told_is_shown(tmp_path: Path) -> None:
    write(tmp_path, data_in_a__mp4="x")
    (tmp_path / "data" / "a.txt").write_bytes(b"caf\xe9")
    message, _, following = bad(tmp_path / "data").partition("\nnext: ")
    assert "line 1; allowed: UTF-8, and in which encoding it is cannot be told: save it again" in message
    assert following == f"sed -n 1p {tmp_path}/data/a.txt | cat -v"
    with zipfile.ZipFile(tmp_path / "a b.zip", "w") as archive:
        archive.writestr("a.txt", b"caf\xe9")
    unpack, look = bad(tmp_path / "a b.zip").partition("\nnext: ")[2].split(" && ")
    assert unpack == f"unzip -n '{tmp_path}/a b.zip' -d '{tmp_path}/a b'"
    assert look == f"sed -n 1p '{tmp_path}/a b/a.txt' | cat -v"


@pytest.mark.parametrize("url", ["https://host/a.mp4", "s3://host/a.mp4"])
@pytest.mark.parametrize("config", [False, True])
def test_a_url_in_a_table_of_a_folder_or_a_config_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, config: bool
) -> None:
    write(tmp_path, set_in_metadata__jsonl=json.dumps({"video": url, "caption": "a tram"}) + "\n")
    write(tmp_path, data__yaml="path: set/metadata.jsonl\n")
    # where a relative path is all that a path can be
    monkeypatch.chdir(tmp_path / "set")
    assert rows(tmp_path / "data.yaml" if config else Path()) == [(url, "a tram", 1)]


def test_a_url_in_the_place_of_a_table_is_not_fetched(tmp_path: Path) -> None:
    write(tmp_path, data__yaml="path: https://host/metadata.jsonl\n")
    assert "path: https://host/metadata.jsonl is a URL, not fetched\nnext: grep -n path" in bad(
        tmp_path / "data.yaml"
    )
    with pytest.raises(DataError) as caught:
        opened(Path("https://host/metadata.jsonl"))
    assert str(caught.value) == (
        "https://host/metadata.jsonl cannot be read: a URL is not fetched, allowed: a path\n"
        "next: curl -LO https://host/metadata.jsonl"
    )


@pytest.mark.parametrize("name", ["nosuch", "nosuch.zip", "nosuch.toml", "none/nosuch.csv"])
def test_a_path_that_does_not_exist_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert bad(path) == f"{path} cannot be read: No such file or directory\nnext: ls -l {tmp_path}"


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    data = write(tmp_path / "data", set_in_a__mp4="x", set_in_a__txt="a tram")
    for name in "lm":
        (data / name).symlink_to(data)
    assert rows(data) == [("set/a.mp4", "a tram", 1)]


def test_columns_of_a_table_that_is_not_there_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a__mp4="x", a__txt="a tram")
    with (
        opened(tmp_path, prompt_column="words") as clips,
        pytest.raises(DataError, match="no column 'words'"),
    ):
        list(clips)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    assert "no clip with a caption beside it" in bad(tmp_path)
    write(tmp_path, a__csv="video,prompt\na,b\n", b__csv="video,prompt\na,b\n")
    assert "several tables in it: a.csv, b.csv" in bad(tmp_path)
    (tmp_path / "c.mp4").touch()
    (tmp_path / "c.txt").write_bytes("벚꽃이 핀 연못".encode("cp949"))
    assert "c.txt is not UTF-8" in bad(tmp_path)


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_command_for_a_caption_of_another_encoding_mends_it(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, a__mp4="x")
    old = "벚꽃이 핀 연못".encode(encoding)
    (tmp_path / "a.txt").write_bytes(old)
    subprocess.run(["bash", "-c", bad(tmp_path).partition("\nnext: ")[2]], check=True)
    assert rows(tmp_path) == [("a.mp4", "벚꽃이 핀 연못", 1)]
    assert len(kept := list(tmp_path.glob("a.txt.*"))) == 1
    assert kept[0].read_bytes() == old


def test_the_digest_of_a_folder_is_that_of_its_captions(tmp_path: Path) -> None:
    def found() -> str:
        with opened(tmp_path) as data:
            list(data)
        return digest(tmp_path, data.files)

    write(tmp_path, a__mp4="x", a__txt="a tram")
    first = found()
    assert found() == first
    write(tmp_path, a__txt="a lake")
    assert found() != first
