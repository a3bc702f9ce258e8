"""Files of every kind that the gate reads, spoilt at random: each is read or refused in one clear message.

`make fuzz`, 2,000 of each kind; `WANLORA_FUZZ=50` for fewer. A crash, ten seconds of computing or a gibibyte
fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_wanlora import baseline as baselines
from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import cli, results, testing
from pytest_wanlora import suite as suites
from pytest_wanlora.baseline.store import seal_of
from pytest_wanlora.errors import LINES, WanloraError
from pytest_wanlora.publishing import receipt
from pytest_wanlora.publishing.verify import Demands, verify
from tests import loras
from tests.unit.baseline.test_store import measured
from tests.unit.reports import gated

EXAMPLES: Final = int(os.environ.get("WANLORA_FUZZ", "2000"))
SECONDS: Final = 10.0
#: Of wall time, for what waits without computing: a busy machine stops any process for seconds.
WAITING: Final = 60.0
GIBIBYTE: Final = 2**30
MESSAGE: Final = 2000
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

#: What no field expects.
ODD: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["", "\0", "~", "../../etc", "\x1b[31m", "\u202e", "nan", "1e999", "x" * 5000, "/dev/zero"]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.integers(1, 400).map(lambda depth: _nested(depth)),
)


def _nested(depth: int) -> Any:  # noqa: ANN401 - lists within lists
    found: Any = 0
    for _ in range(depth):
        found = [found]
    return found


class HangError(BaseException):
    """It took too long; no handler of the package catches it."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Fail what takes ten seconds or a gibibyte more than there was."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise HangError(f"over {SECONDS} s of computing, or {WAITING} s of waiting")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + GIBIBYTE, before[1]))
    old = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0.0)
        for number, handler in old.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def read(reader: Callable[[], object]) -> bool:
    """Read; whether it was accepted. Whatever is refused is refused in one message."""
    with watched():
        try:
            reader()
        except WanloraError as error:
            refused = str(error)
        else:
            return True
    lines = refused.splitlines()
    # a list of several mistakes has a line each
    assert 0 < len(lines) <= LINES + 5
    assert max(map(len, lines)) <= MESSAGE, refused[:500]
    return False


@st.composite
def spoilt(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some changed, inserted, deleted, repeated or cut off."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(["flip", "set", "insert", "delete", "repeat", "cut", "digits"])):
            case "flip" if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                found[at : at + length] = draw(st.binary(max_size=64))
            case "insert":
                found[at:at] = draw(st.binary(max_size=64))
            case "delete":
                del found[at : at + length]
            case "repeat":
                found[at:at] = found[at : at + length] * draw(st.integers(1, 50))
            case "cut":
                del found[at:]
            case "digits":
                found[at : at + 1] = b"9" * draw(st.integers(1, 400))
    return bytes(found)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from _places(value[key], (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:  # noqa: ANN401 - JSON
    """A document with some values replaced, removed or added."""
    found = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(found))
        if not places:
            break
        *above, key = draw(st.sampled_from(places))
        parent = found
        for part in above:
            parent = parent[part]
        match draw(st.sampled_from(["replace", "remove", "add", "move"])):
            case "replace":
                parent[key] = draw(ODD)
            case "remove":
                del parent[key]
            case "add" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8))] = draw(ODD)
            case "move":
                other = draw(st.sampled_from(places))
                value = found
                with contextlib.suppress(KeyError, IndexError, TypeError):
                    for part in other:
                        value = value[part]
                    parent[key] = json.loads(json.dumps(value))
            case _:
                parent[key] = draw(ODD)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


LORA: Final = loras.random_lora(dtype="F32", blocks=1)


@given(st.data())
@FUZZ
def test_loras(folder: Path, data: st.DataObject) -> None:
    path = folder / "lora.safetensors"
    whole = loras.write(path, LORA).read_bytes()
    size = int.from_bytes(whole[:8], "little")
    if data.draw(st.booleans()):
        # the header, with a length that fits: past the first line of defence
        header = json.loads(whole[8 : 8 + size])
        text = json.dumps(data.draw(changed(header))).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + size :])
    else:
        path.write_bytes(data.draw(spoilt(whole)))
    read(lambda: checkpoints.weights(checkpoints.read(path)))


@pytest.fixture(scope="module")
def suite(folder: Path) -> Path:
    return testing.write_suite(folder)


@given(st.data())
@FUZZ
def test_suites(suite: Path, data: st.DataObject) -> None:
    whole = suite.read_bytes()
    path = suite.with_name("spoilt.yaml")
    if data.draw(st.booleans()):
        text = yaml.safe_dump(data.draw(changed(yaml.safe_load(whole))), sort_keys=False)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(data.draw(spoilt(whole)))
    read(lambda: suites.load(str(path)))


@pytest.fixture(scope="module")
def baseline(folder: Path) -> Path:
    baselines.write(measured(seeds=3), folder / "baselines")
    return folder / "baselines" / "tiny" / "base"


@given(st.data())
@FUZZ
def test_baselines(baseline: Path, data: st.DataObject) -> None:
    place = baseline.with_name("spoilt")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(baseline, place)
    path = place / "baseline.json"
    match data.draw(st.sampled_from(["bytes", "sealed", "features"])):
        case "bytes":
            path.write_bytes(data.draw(spoilt(path.read_bytes())))
        case "sealed":
            document = data.draw(changed(json.loads(path.read_bytes())))
            if isinstance(document, dict):
                document["seal"] = seal_of(document)
            path.write_text(json.dumps(document))
        case "features":
            (features,) = place.glob("features-*.safetensors")
            features.write_bytes(data.draw(spoilt(features.read_bytes())))
    read(lambda: baselines.load(place.parents[1], "tiny", "spoilt"))
    read(lambda: baselines.store.load_folder(place, "tiny"))


RECORD: Final = gated.record().to_json()


@given(st.data())
@FUZZ
def test_records(folder: Path, data: st.DataObject) -> None:
    path = folder / "results.json"
    if data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(changed(json.loads(RECORD)))))
    else:
        path.write_bytes(data.draw(spoilt(RECORD.encode())))
    if read(lambda: results.load(path)):
        with watched(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert cli.main(["show", str(path)]) in (0, 1, 4)


RECEIPT: Final = receipt.statement(gated.record(), "epoch-2")


@given(st.data())
@FUZZ
def test_receipts(folder: Path, data: st.DataObject) -> None:
    path, checkpoint = folder / "receipt.json", gated.checkpoint_file(folder)
    if data.draw(st.booleans()):
        document = data.draw(changed(RECEIPT))
        with contextlib.suppress(WanloraError, KeyError, TypeError, AttributeError):
            document = receipt._sealed(document)
        try:
            path.write_bytes(receipt.canonical(document))
        except WanloraError:
            path.write_text(json.dumps(document))
    else:
        path.write_bytes(data.draw(spoilt(receipt.canonical(RECEIPT))))
    found: list[str] = []
    read(lambda: found.extend(verify(path, checkpoint, Demands()).problems))
    assert all(len(problem) <= MESSAGE for problem in found)


METADATA: Final = {
    "csv": b'video,prompt\na.mp4,"a street, at night"\nb.mp4,a forest\n',
    "tsv": b"video\tprompt\na.mp4\ta street\nb.mp4\ta forest\n",
    "json": b'[{"video": "a.mp4", "prompt": "a street"}, {"video": "b.mp4", "prompt": "a forest"}]',
    "jsonl": b'{"video": "a.mp4", "prompt": "a street"}\n{"video": "b.mp4", "prompt": "a forest"}\n',
    "toml": b'[[datasets]]\nvideo_directory = "clips"\ncaption_extension = ".txt"\n',
}


@given(st.data())
@FUZZ
def test_metadata(folder: Path, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(METADATA)))
    path = folder / f"metadata.{form}"
    if form == "json" and data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(changed(json.loads(METADATA[form])))))
    else:
        path.write_bytes(data.draw(spoilt(METADATA[form])))
    said = io.StringIO()
    with watched(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        assert cli.main(["data", "report", str(path)]) in (0, 1, 4)
    assert max(map(len, said.getvalue().splitlines()), default=0) <= MESSAGE
