"""The receipt in a sigstore bundle: what others read of it, and nothing forged that verifies."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from pytest_wanlora import cli
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.publishing import bundle, receipt, ssh_signature
from pytest_wanlora.publishing.verify import Demands, verify
from pytest_wanlora.reports.writing import remove_receipts, write_all
from tests.unit.reports import gated

DOCUMENT = receipt.statement(gated.record(), "epoch-2")
PEM, SSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH


def pair(folder: Path, kind: str, form: serialization.PrivateFormat = PEM) -> tuple[Path, Path]:
    """A private key and its public half."""
    generators: dict[str, Callable[[], Any]] = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    made = generators[kind]()
    private, public = folder / f"{kind}.key", folder / f"{kind}.pub"
    private.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    private.chmod(0o600)
    as_ssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    as_pem = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(made.public_key().public_bytes(*(as_ssh if form is SSH else as_pem)))
    return private, public


class Shelf:
    """A folder with a bundle, the file it is for, and keys."""

    def __init__(self, folder: Path, kind: str = "p256") -> None:
        self.folder = folder
        self.private, self.public = pair(folder, kind)
        self.checkpoint = gated.checkpoint_file(folder)
        self.path = folder / "receipt.json.sigstore"
        self.path.write_bytes(bundle.sign(DOCUMENT, self.private))

    def problems(self, **demands: Any) -> tuple[str, ...]:  # noqa: ANN401 - any demand
        return verify(self.path, self.checkpoint, Demands(**{"public_key": self.public, **demands})).problems

    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_bytes())["dsseEnvelope"]
        return found

    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.b64decode(self.envelope()["payload"]))
        return found

    def put(self, payload: dict[str, Any], *, key: Path | None = None) -> None:
        """Another payload: signed by a key, or with the old signature."""
        whole = json.loads(self.path.read_bytes())
        envelope = Envelope(receipt.canonical(payload), bundle.PAYLOAD_TYPE, {})
        if key is not None:
            envelope.sign(bundle._signer(key))
            whole["dsseEnvelope"] = envelope.to_dict()
        else:
            whole["dsseEnvelope"]["payload"] = envelope.to_dict()["payload"]
        self.path.write_bytes(receipt.canonical(whole))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.mark.parametrize("form", [PEM, SSH])
@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_bundle_is_verified_by_its_key(
    tmp_path: Path, kind: str, form: serialization.PrivateFormat
) -> None:
    private, public = pair(tmp_path, kind, form)
    path = tmp_path / "receipt.json.sigstore"
    path.write_bytes(bundle.sign(DOCUMENT, private))
    found = verify(path, gated.checkpoint_file(tmp_path), Demands(public_key=public))
    assert found.problems == ()
    assert found.signed
    # and without a key as any receipt is
    assert not verify(path, gated.checkpoint_file(tmp_path), Demands()).signed


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_securesystemslib_reads_it(tmp_path: Path, kind: str) -> None:
    shelf = Shelf(tmp_path, kind)
    envelope = Envelope.from_dict(shelf.envelope())
    known = SSlibKey.from_crypto(serialization.load_pem_public_key(shelf.public.read_bytes()))
    assert envelope.verify([SSlibKey("", known.keytype, known.scheme, known.keyval)], 1)
    assert envelope.payload_type == "application/vnd.in-toto+json"


def test_what_it_says_to_those_who_know_in_toto(shelf: Shelf) -> None:
    whole = json.loads(shelf.path.read_bytes())
    assert whole["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    said = shelf.payload()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["subject"] == [{"name": "epoch-2.safetensors", "digest": {"sha256": gated.SHA}}]
    assert said["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = said["predicate"]
    assert predicate["result"] == "PASSED"
    assert predicate["configuration"] == [{"name": "fake", "digest": {"sha256": gated.SUITE_SHA}}]
    assert len(predicate["passedTests"]) == len(gated.judgements())
    assert predicate["warnedTests"] == predicate["failedTests"] == []
    assert predicate["pytest-wanlora:receipt/v2"] == DOCUMENT["predicate"]
    (limit,) = [each for each in predicate["evaluations"] if each["test"] == "test_limit[epoch-2-all-fvd]"]
    assert limit == {
        "test": "test_limit[epoch-2-all-fvd]",
        "metric": "fvd",
        "comparator": "<=",
        "threshold": 1140.0,
        "value": 1015.0,
        "passed": True,
        "sampleSize": 4,
    }


def test_a_checkpoint_that_may_not_be_published_failed(shelf: Shelf) -> None:
    document = receipt.statement(gated.failing(), "epoch-2")
    said = bundle.attestation(document)["predicate"]
    assert said["result"] == "FAILED"
    assert said["failedTests"] == ["test_regression[epoch-2-test1_city-sharpness]"]
    shelf.path.write_bytes(bundle.sign(document, shelf.private))
    assert any("not publishable" in problem for problem in shelf.problems())


Change = Callable[[dict[str, Any]], object]
FORGED: dict[str, Change] = {
    "another result": lambda said: said["predicate"].update(result="WARNED"),
    "a test less": lambda said: said["predicate"]["passedTests"].pop(),
    "another suite": lambda said: said["predicate"]["configuration"][0].update(name="other"),
    "another threshold": lambda said: said["predicate"]["evaluations"][0].update(threshold=0.1),
    "one key more": lambda said: said["predicate"].update(note="trust me"),
    "another subject": lambda said: said["subject"][0]["digest"].update(sha256="0" * 64),
    "no receipt": lambda said: said["predicate"].pop("pytest-wanlora:receipt/v2"),
    "another receipt": lambda said: said["predicate"]["pytest-wanlora:receipt/v2"].update(runs=9),
    "another type": lambda said: said.update(predicateType="https://example.org/x"),
    "no predicate": lambda said: said.pop("predicate"),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("resigned", [False, True])
def test_a_payload_that_was_changed_is_refused(shelf: Shelf, name: str, resigned: bool) -> None:
    said = shelf.payload()
    FORGED[name](said)
    # even by the holder of the key: what it says outside must follow from the receipt inside
    shelf.put(said, key=shelf.private if resigned else None)
    (problem,) = shelf.problems()
    assert ("not a good signature" in problem) is not resigned


def test_another_key_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, public = pair(tmp_path / "other", "p256")
    shelf.put(shelf.payload(), key=other)
    assert "not a good signature" in shelf.problems()[0]
    assert shelf.problems(public_key=public) == ()
    assert shelf.problems(public_key=None) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole.update(mediaType="application/vnd.dev.sigstore.bundle.v0.1+json"),
        lambda whole: whole.pop("dsseEnvelope"),
        lambda whole: whole["dsseEnvelope"].update(payloadType="text/plain"),
        lambda whole: whole["dsseEnvelope"].update(payload="!"),
        lambda whole: whole["dsseEnvelope"].update(signatures=[]),
        lambda whole: whole["dsseEnvelope"]["signatures"].append(whole["dsseEnvelope"]["signatures"][0]),
        lambda whole: whole["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
        lambda whole: whole["dsseEnvelope"]["signatures"][0].update(sig=5),
        lambda whole: whole.update(dsseEnvelope=[]),
    ],
)
def test_a_damaged_bundle_is_one_refusal(shelf: Shelf, change: Change) -> None:
    whole = json.loads(shelf.path.read_bytes())
    change(whole)
    shelf.path.write_bytes(receipt.canonical(whole))
    assert len(shelf.problems()) == 1


def test_a_receipt_alone_is_signed_by_no_such_key(shelf: Shelf) -> None:
    shelf.path.write_bytes(receipt.canonical(DOCUMENT))
    assert "no sigstore bundle, and only that" in shelf.problems()[0]


@pytest.mark.parametrize("kind", ["p384", "rsa"])
def test_keys_of_other_kinds_sign_no_bundle(tmp_path: Path, kind: str) -> None:
    private, public = pair(tmp_path, kind)
    assert "a key of another kind; allowed: an Ed25519 key" in (bundle.why_not(private) or "")
    with pytest.raises(SettingsError, match="a key of another kind"):
        bundle.sign(DOCUMENT, private)
    with pytest.raises(SettingsError, match=r"--public-key: .* a key of another kind"):
        Shelf(tmp_path).problems(public_key=public)


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_a_usage_error(shelf: Shelf, content: bytes) -> None:
    shelf.public.write_bytes(content)
    arguments = ["verify", str(shelf.path), str(shelf.checkpoint), "--public-key", str(shelf.public)]
    assert cli.main(arguments) == 4
    assert bundle.why_not(shelf.public) is not None


def test_without_the_extra_it_says_what_to_install(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert "pip install 'pytest-wanlora[sign]'" in (bundle.why_not(shelf.private) or "")
    with pytest.raises(SettingsError, match="--public-key: securesystemslib is not installed"):
        shelf.problems()


def test_a_run_that_signs_writes_it_beside_the_receipt(tmp_path: Path) -> None:
    private, public = pair(tmp_path, "ed25519", SSH)
    ssh_signature.check_key(private)
    folder = tmp_path / "runs" / "run"
    written = write_all(gated.record(), folder, sign_key=private)
    assert (written.problems, written.unsigned) == ((), False)
    path = folder / "receipt.json.sigstore"
    assert path in written.paths
    assert verify(path, gated.checkpoint_file(tmp_path), Demands(public_key=public)).verified
    remove_receipts(gated.record(), folder)
    assert not path.exists()


def test_a_key_that_only_signs_by_ssh_leaves_no_bundle(tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True)
    written = write_all(gated.record(), tmp_path / "run", sign_key=tmp_path / "key")
    assert {path.name for path in written.paths} >= {"receipt.json", "receipt.json.sig"}
    assert not (tmp_path / "run" / "receipt.json.sigstore").exists()
