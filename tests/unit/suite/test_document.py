from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite.document import Problem, dotted, quoted, read, rejection


def refusal(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        read(path)
    assert caught.value.next_command
    return caught.value.message.removeprefix(f"{path}:")


NO_TEXT = "is not text; allowed: text, in quotes if need be"
NO_TAG = "is not allowed; allowed: the value without a tag"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "1: the file is empty; allowed: a mapping with model, sampling, scoring, scenarios"),
        (
            b"# nothing\n\n",
            "1: the file is empty; allowed: a mapping with model, sampling, scoring, scenarios",
        ),
        (b"\n- a\n- b\n", "2: not a mapping; allowed: keys like `model:` and `scenarios:`"),
        (b"a\n", "1: not a mapping; allowed: keys like `model:` and `scenarios:`"),
        (b"a: 1\nb: \xff\n", "2: byte 0xff is not UTF-8; allowed: UTF-8 text"),
        ("a: 1\n".encode("utf-16"), "1: byte 0xff is not UTF-8; allowed: UTF-8 text"),
        (b"a: 1\nb: \x00\n", "2: not YAML: the character '\\x00' is not allowed"),
        (b"a:\n\tb: 1\n", "2: a tab in the indentation; allowed: spaces"),
        (b"a:\n  b: 1\n \tc: 2\n", "3: a tab in the indentation; allowed: spaces"),
        (
            b"a: 1\nb: he said: no\n",
            "2: not YAML: a colon where no key can be; allowed: quotes around a text that holds ': '",
        ),
        (b"a: 1\n---\nb: 2\n", "2: a second document after `---`; allowed: one suite a file"),
        (b"a: [1, 2\n", "2: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            BOMB.encode(),
            "1: not YAML: anchors (&name) and aliases (*name) are not allowed; write the value out",
        ),
        (
            b"a: 1\nb: *a\n",
            "2: not YAML: anchors (&name) and aliases (*name) are not allowed; write the value out",
        ),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "1: not YAML: nested deeper than 12 levels"),
    ],
)
def test_what_is_no_suite_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    assert refusal(path) == said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == " no such file"
    with pytest.raises(SuiteError) as caught:
        read(tmp_path / "a b" / "none.yaml")
    assert caught.value.next_command == f"ls -l {tmp_path}"
    assert refusal(tmp_path) == " a folder; allowed: a suite file (.yaml)"
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: 1\n" * 300_000)
    assert refusal(large) == " 1500000 bytes; allowed: suite files up to 1048576 bytes"


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.symlink_to(path)
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", Problem(2, "a", "written twice, first in line 1; allowed: each key once")),
        (
            "a:\n  b: {c: 1, c: 2}\n",
            Problem(2, "a.b.c", "written twice, first in line 2; allowed: each key once"),
        ),
        ("1: x\n", Problem(1, "", f"the key '1' {NO_TEXT}")),
        ("a: 1\n? [b]\n: 2\n", Problem(2, "", f"the key 'a list or mapping' {NO_TEXT}")),
        ('a: 1\n"\\ud800": 2\n', Problem(2, "", f"the key '\\ud800' {NO_TEXT}")),
        (
            'a:\n  - "\\ud800"\n',
            Problem(2, "a[0]", "half of an escaped character; allowed: the character itself"),
        ),
        ("a: !!python/object:os.system x\n", Problem(1, "a", f"the tag !!python/object:os.system {NO_TAG}")),
        ("a: !mine {b: 1}\n", Problem(1, "a", f"the tag !mine {NO_TAG}")),
        ("a: !!set {b}\n", Problem(1, "a", f"the tag !!set {NO_TAG}")),
        ("a: !!int x\n", Problem(1, "a", f"the tag !!int {NO_TAG}")),
        ("a: !!binary aGk=\n", Problem(1, "a", f"the tag !!binary {NO_TAG}")),
    ],
)
def test_problems_that_do_not_end_the_reading(tmp_path: Path, text: str, problem: Problem) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert read(path).problems == (problem,)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("22:30", "22:30"),
        ("2025-11-11", "2025-11-11"),
        ("1_000", "1_000"),
        ("010", 10),
        ("-3", -3),
        ("0x10", "0x10"),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("9" * 61, "9" * 61),
        ('"\\ud83c\\udf38"', "\N{CHERRY BLOSSOM}"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("<<", "<<"),
        ("!!str 5", "5"),
        ("[1, two]", (1, "two")),
    ],
)
def test_plain_words_are_read_by_the_rules_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"a: {text}\n")
    found = read(path).data["a"]
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys_and_items(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("# first\na:\n  b: |\n    long\n    text\n  c:\n    - 1\n    - d: 2\n      e: 3\n")
    document = read(path)
    assert document.lines == {
        (): 1,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 6,
        ("a", "c", 0): 7,
        ("a", "c", 1): 8,
        ("a", "c", 1, "d"): 8,
        ("a", "c", 1, "e"): 9,
    }
    assert document.line_of(("a", "c", 1, "missing", 3)) == 8
    assert document.line_of(("nowhere",)) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufeff\u2028\u2029")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc é가", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


def tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


@given(value=st.dictionaries(st.text("xyz ", min_size=1), JSON, min_size=1, max_size=4))
def test_json_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("json") / "s.yaml"
    path.write_text(json.dumps(value), encoding="utf-8")
    document = read(path)
    assert document.problems == ()
    assert document.data == tuples(json.loads(json.dumps(value)))


@given(
    content=st.binary(max_size=60) | st.text("ab:-[]{}&*!'\"#|>?%@\t\n ,<~.0", max_size=60).map(str.encode)
)
@example(content=b"? ? a")
@example(content=b"a: !!null x")
@example(content=b"%YAML 9.9\n---\na: 1")
@example(content=b"--- !!map\n? &a b\n: 1")
def test_nothing_but_a_suite_error_is_raised(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "s.yaml"
    path.write_bytes(content)
    # any other exception fails the test
    with contextlib.suppress(SuiteError):
        assert isinstance(read(path).data, dict)


def test_equal_problems_are_told_once() -> None:
    problem = Problem(3, "a", "wrong")
    assert rejection(Path("s.yaml"), [problem, problem]).message == "s.yaml:3: a: wrong"


def test_dotted_and_quoted() -> None:
    assert dotted(("scenarios", 0, "prompt")) == "scenarios[0].prompt"
    assert dotted(()) == ""
    assert quoted("x" * 99) == "'" + "x" * 56 + "..."
    assert quoted({"a": 1}) == "a mapping"
    assert quoted((1, 2)) == "a list of 2"
    assert quoted(None) == "nothing"
    assert quoted(True) == "true"
    assert quoted(5.0) == "5.0"
