from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.metadata import Metadata, Row
from pytest_wanlora.training_data.writing import write_table

HEADER = "video,prompt,source\n"
KOREAN = "서울의 밤거리를 걷는 사람들, 네온사인이 빛난다"
CHINESE = "雨夜的上海外滩，霓虹灯倒映在路面上。"  # noqa: RUF001  the Chinese comma
JAPANESE = "夜の東京の街を歩く人々"
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


def rows_of(path: Path, **columns: str) -> list[Row]:
    with Metadata(path, **columns) as metadata:  # type: ignore[arg-type]  # names only
        return list(metadata)


def bad(path: Path, **columns: str) -> str:
    with pytest.raises(DataError) as caught:
        rows_of(path, **columns)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_a_csv_is_read_with_quotes_line_breaks_and_extra_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(HEADER + 'a.mp4,"He said ""run"",\nthen ran",web\n\nb.mp4,산,own\n', encoding="utf-8")
    first, second = rows_of(path)
    assert first.prompt == 'He said "run",\nthen ran'
    assert first.record == ["a.mp4", 'He said "run",\nthen ran', "web"]
    assert first.place == 3
    assert (second.place, second.video, second.prompt) == (5, "b.mp4", "산")


def test_a_byte_order_mark_before_a_csv_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + f"a.mp4,{KOREAN},x\n").replace(KOREAN, "k").encode())
    with Metadata(path) as metadata:
        assert metadata.columns == ("video", "prompt", "source")


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_objects_are_read_with_their_types(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"m.{kind}"
    records: list[dict[str, Any]] = [
        {"video": "a.mp4", "prompt": "바다", "fps": 24, "tags": ["x", {"deep": None}]},
        {"video": None, "prompt": "  ", "fps": 23.976},
    ]
    write_table(path, kind, (), records)
    first, second = rows_of(path)
    assert first.record == records[0]
    assert second.record == records[1]
    assert (second.video, second.prompt) == (None, None)
    assert [first.place, second.place] == [1, 2]


def test_a_long_json_list_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    records = [{"video": f"{n}.mp4", "prompt": f"{n} " + "숲" * 500} for n in range(2_000)]
    path.write_text(json.dumps(records, indent=2, ensure_ascii=False), encoding="utf-8")
    assert [row.record for row in rows_of(path)] == records


def test_other_column_names(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("clip,text\na.mp4,a city\n")
    assert rows_of(path, prompt_column="text", video_column="clip")[0].prompt == "a city"


def test_what_pandas_takes_for_missing_is_missing(tmp_path: Path) -> None:
    texts = ["", "NA", "nan", "None", "null", "N/A", "<NA>", "-nan", "a city", "none", "na", "0", "#N/A"]
    path = tmp_path / "m.csv"
    path.write_text(HEADER + "".join(f"{number}.mp4,{text},x\n" for number, text in enumerate(texts)))
    # the training's own reader; it comes with diffsynth and has no types
    pandas: Any = importlib.import_module("pandas")
    missing = [bool(absent) for absent in pandas.read_csv(path)["prompt"].isna()]
    assert [row.prompt is None for row in rows_of(path)] == missing


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.csv", b"", ["is empty"]),
        ("m.csv", b" \n\n", ["is empty"]),
        ("m.csv", b"\nvideo,prompt\n", ["first line is empty"]),
        ("m.csv", b"video,prompt\n", ["no row"]),
        (
            "m.csv",
            b"video,words\na.mp4,x\n",
            ["no column 'prompt' or 'caption' or 'text'", "'video', 'words'", "--prompt-column"],
        ),
        ("m.csv", b"clip,prompt\na.mp4,x\n", ["no column 'video'", "--video-column"]),
        ("m.csv", b"a.mp4,a city\n", ["no column 'prompt'", "'a city'"]),
        ("m.csv", b"video,prompt,prompt\na.mp4,x,y\n", ["line 1", "'prompt' 2 times"]),
        (
            "m.csv",
            b"video,prompt\na.mp4,a city, at night\n",
            ["line 2 has 3 fields, not 2", "not put in quotes"],
        ),
        ("m.csv", b"video,prompt\na.mp4\n", ["line 2 has 1 fields, not 2"]),
        ("m.csv", b'video,prompt\na.mp4,"a city\nb.mp4,x\n', ["ends within a quoted field"]),
        ("m.csv", b'video,prompt\na.mp4,"a "red" city"\n', ["line 2", "written twice"]),
        ("m.csv", b'video,prompt\na.mp4,"' + b"x" * 200_000 + b'"\n', ["131,072 characters"]),
        ("m.csv", "video,prompt\na.mp4,x\n".encode("utf-16"), ["is UTF-16", "iconv -f UTF-16 -t UTF-8"]),
        ("m.csv", "video,prompt\na.mp4,x\n".encode("utf-16-le"), ["zero bytes", "iconv -f UTF-16LE"]),
        ("m.csv", "video,prompt\na.mp4,x\n".encode("utf-16-be"), ["zero bytes", "iconv -f UTF-16BE"]),
        ("m.csv", b"\0\0\0\x18ftypmp42\0\0\0\0", ["a NUL byte in line 1", "next: sed -n 1p"]),
        ("m.csv", b"video,prompt\na.mp4,a ci\0ty!\n", ["a NUL byte in line 2", "next: sed -n 2p"]),
        ("m.csv", b"\xff\xfevideo,prompt\na.mp4,x\n", ["begins as UTF-16 does", "cannot be told"]),
        ("m.csv", "video,prompt\na.mp4,x\n".encode("utf-32"), ["is UTF-32"]),
        (
            "m.csv",
            f"video,prompt\na.mp4,ok\nb.mp4,{KOREAN}\n".encode("cp949"),
            ["not UTF-8", "line 3", "offset 28", "file reads as CP949", "iconv -f CP949 -t UTF-8"],
        ),
        ("m.csv", f"video,prompt\na.mp4,{CHINESE}\n".encode("gb18030"), ["line 2", "reads as GB18030"]),
        ("m.csv", f"video,prompt\na.mp4,{KOREAN}\n".encode("utf-16-le"), ["iconv -f UTF-16LE -t UTF-8"]),
        ("m.csv", f"video,prompt\na.mp4,{JAPANESE}\n".encode("cp932"), ["line 2", "reads as CP932"]),
        ("m.csv", f"video,prompt\na.mp4,{JAPANESE}\n".encode("euc-jp"), ["line 2", "reads as EUC-JP"]),
        (
            "m.csv",
            f"video,prompt\na.mp4,{KOREAN}\n".encode() + f"b.mp4,{KOREAN}\n".encode("cp949"),
            ["line 3; line 2 is UTF-8, so no encoding is that of the whole file", "next: sed -n 3p"],
        ),
        (
            "m.json",
            f'[{{"video": "a", "prompt": "{KOREAN}"}}, '.encode()
            + f'{{"video": "b", "prompt": "{KOREAN}"}}]'.encode("cp949"),
            ["line 1; allowed: UTF-8, and in which encoding it is cannot be told"],
        ),
        (
            "m.csv",
            "video,prompt\na.mp4,老人在公园里\n".encode("gb18030"),
            ["allowed: UTF-8", "cannot be told"],
        ),
        (
            "m.csv",
            b"video,prompt\na.mp4,caf\xe9\n",
            ["byte 0xe9", "allowed: UTF-8", "next: sed -n 2p"],
        ),
        ("m.json", f'[{{"video": "a", "prompt": "{KOREAN}"}}]'.encode("cp949"), ["not UTF-8", "CP949"]),
        ("m.json", b"", ["is empty"]),
        ("m.json", b"[]", ["no row"]),
        (
            "m.json",
            b'{"video": "a.mp4", "prompt": "x"}',
            ["neither a JSON list of objects nor captions by path"],
        ),
        ("m.json", b'\xef\xbb\xbf[{"video": "a", "prompt": "x"}]', ["byte order mark"]),
        ("m.json", b'[{"video": "a", "prompt": "x"}', ["is not JSON", "line 1 column"]),
        ("m.json", b'[{"video": "a", "prompt": "x"} {"video"', ["is not JSON"]),
        ("m.json", b'[{"video": "a", "prompt": "x"}, {"video": "b", "prom', ["is not JSON", "line 1 column"]),
        ("m.json", b'[{"video": "a", "prompt": "x"}, 3]', ["record 2 is not an object"]),
        ("m.json", b'[{"video": "a", "prompt": "x"}] rest', ["Extra data"]),
        ("m.json", b'[{"video": "a", "prompt": "x"},]', ["is not JSON", "line 1 column"]),
        ("m.json", b"[" * 100_000, ["too deeply"]),
        ("m.json", b'[{"video": "a", "words": "x"}]', ["record 1 has no 'prompt'", "'words'"]),
        ("m.json", b'[{"video": "a", "prompt": 3}]', ["record 1", "'prompt' is '3', not a text"]),
        ("m.json", b'[{"video": ["a", "b"], "prompt": "x"}]', ["record 1", "'video'", "not a text"]),
        ("m.json", b'[{"video": "a", "prompt": "x", "prompt": "y"}]', ["'prompt' twice"]),
        ("m.jsonl", b'{"video": "a", "prompt": "x"}\n\n', ["line 2 is empty"]),
        ("m.jsonl", b'{"video": "a", "prompt": "x"}\n{"video"\n', ["line 2 is not JSON"]),
        (
            "m.jsonl",
            b'{"video": {"url": "https://x/y.mp4", "type": "video/mp4"}, "prompt": "x"}\n',
            ["line 1: 'video' is", "not a text", 'allowed: "video": "https://x/y.mp4"\nnext: sed -n 1p'],
        ),
        (
            "m.jsonl",
            b'{"video": "a.mp4", "prompt": ["a tram"]}\n',
            ["'prompt' is", 'allowed: "prompt": "a tram"\nnext: sed -n 1p'],
        ),
        ("m.jsonl", b'{"prompt": "x"}\n', ["line 1 has no 'video'"]),
        ("m.jsonl", b"[" * 100_000, ["line 1", "too deeply"]),
        (
            "m.jsonl",
            b'{"n": ' + b"1" * 5000 + b"}",
            ["line 1 is not JSON: it is nested too deeply, or a number in it has too many"],
        ),
        (
            "m.json",
            b'[{"n": ' + b"1" * 5000 + b"}]",
            ["m.json is not JSON: it is nested too deeply, or a number in it has too many"],
        ),
        ("m.parquet", b"PAR1", [".parquet", ".csv, .tsv, .json, .jsonl"]),
        ("metadata", b"video,prompt\n", ["no ending"]),
    ],
)
def test_bad_files_are_refused_with_their_place(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = bad(path)
    for word in words:
        assert word in message
    assert len(message.replace(str(path), path.name)) < 400


@pytest.mark.parametrize("before", [4094, 4095, 4096, 2**20 - 1, 3 * 2**20])
def test_a_nul_byte_anywhere_is_refused(tmp_path: Path, before: int) -> None:
    path = tmp_path / "m.csv"
    rows = b"video,prompt\n" + b"a.mp4,a city\n" * (before // 13)
    path.write_bytes(rows + b"b.mp4," + b"x" * (before - len(rows) - 6) + b"\0\n")
    line = rows.count(b"\n") + 1
    assert bad(path) == (
        f"{path} holds a NUL byte in line {line}, the first; allowed: text in UTF-8 without one\n"
        f"next: sed -n {line}p {path} | cat -v"
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in bad(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "video_path,caption\na.mp4,a tram\n"),
        ("m.csv", "text,file_name\na tram,a.mp4\n"),
        ("m.csv", "Path,Prompt\na.mp4,a tram\n"),
        ("m.tsv", "video\tprompt\na.mp4\ta tram\n"),
        ("m.jsonl", '{"video_path": "a.mp4", "caption": "a tram"}\n'),
        ("m.json", '[{"file_name": "a.mp4", "text": "a tram"}]'),
        ("m.json", '{"a.mp4": {"caption": "a tram", "tags": "x"}}'),
        ("m.json", '{"a.mp4": {"tags": "a tram"}}'),
        ("m.json", '{"a.mp4": "a tram"}'),
        ("m.json", '{"a.mp4": ["a tram"]}'),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert [(row.video, row.prompt) for row in rows_of(path)] == [("a.mp4", "a tram")]


def test_the_names_of_the_training_come_first_and_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("caption,prompt,path,video\nc,p,y,v\n")
    with Metadata(path) as metadata:
        assert [(row.video, row.prompt) for row in metadata] == [("v", "p")]
        assert metadata.notes == []
    path.write_text("caption,path\nc,y\n")
    with Metadata(path) as metadata:
        assert metadata.notes == ["the prompts are those of 'caption', the videos those of 'path'"]


def test_captions_by_path_may_be_several_or_none_and_name_no_ending(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    path = tmp_path / "m.json"
    path.write_text('{"a.mp4": ["one", "two"], "b": {"caption": " "}, "c": "three"}')
    assert [(row.video, row.prompt) for row in rows_of(path)] == [
        ("a.mp4", "one"),
        ("a.mp4", "two"),
        ("b.mp4", None),
        ("c", "three"),
    ]


def test_a_column_of_videos_may_be_missing_where_none_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("prompt\na tram\n")
    with Metadata(path, needs_video=False) as metadata:
        assert [(row.video, row.prompt) for row in metadata] == [(None, "a tram")]
    # one that was asked for must be there all the same
    with pytest.raises(DataError, match="no column 'clip'"):
        Metadata(path, video_column="clip", needs_video=False)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8))
def test_a_csv_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.csv"
    records = [list(record) for record in table]
    write_table(path, "csv", ("video", "prompt", "source"), records)
    assert [row.record for row in rows_of(path)] == records


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@given(table=st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.none()), min_size=1, max_size=8))
def test_objects_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, kind: str, table: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("m") / f"m.{kind}"
    records = [{**record, "video": "a.mp4", "prompt": "x"} for record in table]
    write_table(path, kind, (), records)
    assert [row.record for row in rows_of(path)] == records
