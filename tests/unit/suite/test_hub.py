"""What is on this disk of the hub's files, and what the hub tells of the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_wanlora import cli, testing
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import file_sha256
from pytest_wanlora.suite import hub, load, resolve

SHARDS = "hub:Wan-AI/Wan2.2-TI2V-5B:diffusion_pytorch_model*.safetensors"
VAE = "hub:Wan-AI/Wan2.2-TI2V-5B:vae.safetensors"
ANSWER = {
    "id": "Wan-AI/Wan2.2-TI2V-5B",
    "siblings": [
        {"rfilename": "diffusion_pytorch_model-00001-of-00002.safetensors", "size": 10},
        {"rfilename": "diffusion_pytorch_model-00002-of-00002.safetensors", "size": 7},
        {"rfilename": "google/umt5-xxl/tokenizer.json", "size": 3},
        {"rfilename": "README.md", "size": 1},
    ],
}


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.startswith("/api/models/Wan-AI/Wan2.2-TI2V-5B")
        body = json.dumps(ANSWER if known else {"error": "no"}).encode()
        self.send_response(200 if known else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DiffSynth would keep the model's files."""
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path))
    folder = tmp_path / "Wan-AI" / "Wan2.2-TI2V-5B"
    folder.mkdir(parents=True)
    return folder


def test_shards_count_only_together(models: Path) -> None:
    reference = resolve(SHARDS, key="model.dit[0]")
    assert hub.local_files(reference) == ()
    first = models / "diffusion_pytorch_model-00001-of-00002.safetensors"
    first.touch()
    assert hub.local_files(reference) == ()
    second = models / "diffusion_pytorch_model-00002-of-00002.safetensors"
    second.touch()
    assert hub.local_files(reference) == (first, second)


def test_a_folder_counts_once_it_holds_something(models: Path) -> None:
    reference = resolve("hub:Wan-AI/Wan2.2-TI2V-5B:google/umt5-xxl/", key="model.tokenizer")
    (models / "google" / "umt5-xxl").mkdir(parents=True)
    assert hub.local_files(reference) == ()
    (models / "google" / "umt5-xxl" / "tokenizer.json").touch()
    assert hub.local_files(reference) == (models / "google" / "umt5-xxl",)


def test_a_scorers_file_is_looked_for_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    reference = resolve("hub:a/b:c.safetensors", key="scoring.clip.weights")
    assert hub.local_files(reference) == ()
    assert hub.fetch_command(reference) == "hf download a/b c.safetensors"
    repository = tmp_path / "models--a--b"
    (repository / "snapshots" / "1").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    (repository / "snapshots" / "1" / "c.safetensors").touch()
    assert hub.local_files(reference) == (repository / "snapshots" / "1" / "c.safetensors",)


def test_the_command_fetches_to_where_the_model_is_looked_for(models: Path) -> None:
    tokenizer = resolve("hub:Wan-AI/Wan2.2-TI2V-5B:google/umt5-xxl/", key="model.tokenizer")
    assert hub.fetch_command(tokenizer) == (
        f"hf download Wan-AI/Wan2.2-TI2V-5B --include 'google/umt5-xxl/*' --local-dir {models}"
    )


@pytest.mark.usefixtures("served")
def test_the_hub_tells_sizes() -> None:
    listing = hub.sizes(["Wan-AI/Wan2.2-TI2V-5B"])["Wan-AI/Wan2.2-TI2V-5B"]
    assert not isinstance(listing, str)
    assert sum(hub.matching(listing, "diffusion_pytorch_model*.safetensors").values()) == 17
    assert sum(hub.matching(listing, "google/umt5-xxl/").values()) == 3
    assert hub.matching(listing, "gone.safetensors") == {}


@pytest.mark.usefixtures("served")
def test_a_hub_that_refuses_is_put_into_words() -> None:
    assert hub.sizes(["who/knows"]) == {"who/knows": "the hub answers 500"}


def test_nothing_is_asked_for_nothing() -> None:
    assert hub.sizes([]) == {}


def test_a_hub_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    def listing(repository: str) -> str:
        waiting.wait(20)
        return repository

    monkeypatch.setattr(hub, "_listing", listing)
    monkeypatch.setattr(hub, "_PATIENCE", 0.05)
    assert hub.sizes(["a/b"]) == {"a/b": "the hub does not answer within 0.05 s"}
    waiting.set()


@pytest.mark.parametrize("answers", [True, False])
def test_a_hub_that_answers_nothing_is_told_of_in_the_same_words_and_asked_once(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    asked = []

    def listing(repository: str) -> hub.Listing:
        asked.append(repository)
        if repository == "a/late":
            waiting.wait(20)
        return {"f": 1} if answers and repository == "a/known" else "the hub cannot be reached (E)"

    monkeypatch.setattr(hub, "_listing", listing)
    monkeypatch.setattr(hub, "_PATIENCE", 0.05)
    late = "the hub does not answer within 0.05 s" if answers else "the hub cannot be reached (E)"
    known = {"f": 1} if answers else late
    told: dict[str, hub.Listing] = {}
    for _ in range(2):
        assert hub.sizes(["a/late", "a/known"], told) == {"a/late": late, "a/known": known}
    assert asked.count("a/known") == 1
    assert asked.count("a/late") == 1 + answers
    # only where it is remembered
    assert hub.sizes(["a/known"]) == {"a/known": known}
    assert asked.count("a/known") == 2
    waiting.set()


COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = f"hub:Wan-AI/Wan2.2-TI2V-5B@{COMMIT}:vae.safetensors"


def note(models: Path, name: str, commit: str) -> None:
    """What the hub's client notes of a file that it downloads into a folder."""
    path = models / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{commit}\netag\n0.0\n")


def test_a_pinned_commit_is_held(models: Path) -> None:
    reference = resolve(PINNED, key="model.vae")
    assert (reference.hub_id, reference.revision) == ("Wan-AI/Wan2.2-TI2V-5B", COMMIT)
    assert hub.fetch_command(reference).endswith(f" --revision {COMMIT}")
    (models / "vae.safetensors").touch()
    with pytest.raises(SuiteError, match="of no commit that is known"):
        hub.fetch(reference)
    note(models, "vae.safetensors", "f" * 40)
    with pytest.raises(SuiteError, match=f"of commit {'f' * 40}; allowed: {COMMIT}, which the suite pins"):
        hub.fetch(reference)
    note(models, "vae.safetensors", COMMIT)
    assert hub.fetch(reference) == (models / "vae.safetensors",)


@pytest.mark.parametrize("key", ["model.vae", "scoring.clip.weights"])
def test_what_is_missing_is_downloaded_at_the_commit(
    models: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    asked: list[object] = []

    def download(*_: object, revision: str | None, **__: object) -> None:
        asked.append(revision)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(SuiteError, match="no such file below") as refused:
        hub.fetch(resolve(PINNED, key=key))
    assert asked == [COMMIT]
    assert COMMIT in (refused.value.next_command or "")


def test_a_download_that_fails_says_why(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(SuiteError, match="cannot be fetched: ConnectionError: no route"):
        hub.fetch(resolve(PINNED, key="model.vae"))


class TestPins:
    """`doctor --pin`: the suite's text with what is on this disk."""

    @pytest.fixture
    def suite(self, tmp_path: Path, models: Path) -> Path:
        path = testing.write_suite(tmp_path)
        text = path.read_text().replace("vae: fake-files/vae.safetensors", f"vae: {VAE}  # the hub's")
        path.write_text(text)
        (models / "vae.safetensors").write_bytes((tmp_path / "fake-files/vae.safetensors").read_bytes())
        note(models, "vae.safetensors", COMMIT)
        return path

    @pytest.mark.parametrize(
        "stated",
        ["", "  sha256: {{}}\n", "  sha256: {{ {name}: {digest} }}\n", "  sha256:\n    {name}: {digest}\n"],
    )
    def test_digests_and_commits_are_written(
        self, suite: Path, capsys: pytest.CaptureFixture[str], stated: str
    ) -> None:
        dit = file_sha256(suite.parent / "fake-files/dit.safetensors")
        text = suite.read_text()
        wanted = stated.format(name="dit.safetensors", digest=dit)
        suite.write_text(text.replace("model:\n", f"model:\n{wanted}"))
        assert cli.main(["doctor", "--suite", str(suite), "--pin"]) == 0
        found = load(suite)
        for name in ("dit", "text_encoder", "vae"):
            expected = file_sha256(suite.parent / f"fake-files/{name}.safetensors")
            assert found.model.sha256[f"{name}.safetensors"] == expected
        assert found.model.vae == PINNED
        assert found.scoring.clip.sha256 == file_sha256(suite.parent / "fake-files/clip.safetensors")
        assert found.scoring.reference_sha256
        assert found.scoring.video_features.sha256
        assert "  # the hub's" in suite.read_text()
        assert f"pinned {PINNED}" in capsys.readouterr().out
        before = suite.read_bytes()
        assert cli.main(["doctor", "--suite", str(suite), "--pin"]) == 0
        assert suite.read_bytes() == before

    def test_what_is_not_here_is_told(
        self, suite: Path, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (models / "vae.safetensors").unlink()
        assert cli.main(["doctor", "--suite", str(suite), "--pin"]) == 1
        assert f"not pinned model.vae: {VAE}: not on this disk; next: hf download" in capsys.readouterr().out

    def test_a_packaged_suite_is_not_changed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["doctor", "--suite", "tiny", "--pin"]) == 4
        assert "tiny is no file of yours" in capsys.readouterr().err
