"""The receipt as others read it: an in-toto test result, in a DSSE envelope, in a sigstore bundle.

The predicate is in-toto's `test-result/v0.1`; the whole receipt is an extension of it, under the receipt's
own predicate type. Signing and checking are securesystemslib's (extra `sign`): ECDSA on P-256 or Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.errors import RecordError, SettingsError
from pytest_wanlora.files import parse_json, read_regular
from pytest_wanlora.publishing import receipt
from pytest_wanlora.publishing.predicate import PREDICATE_TYPE, STATEMENT_TYPE, Statement
from pytest_wanlora.verdict.judgement import Judgement, Verdict

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
_LARGEST_KEY: Final = 2**16
_KEYS: Final = "an Ed25519 key, or ECDSA on P-256"


def bundle_path(receipt_path: Path) -> Path:
    """Where a receipt's bundle is: `receipt.json.sigstore` beside `receipt.json`."""
    return receipt_path.with_name(f"{receipt_path.name}.sigstore")


def why_not(key: Path) -> str | None:
    """Say why a key signs no bundle; None if it does.

    An agent's key and kinds of keys that sigstore does not take still sign the receipt by `ssh-keygen`.
    """
    if util.find_spec("securesystemslib") is None:
        return "securesystemslib is not installed; next: pip install 'pytest-wanlora[sign]'"
    try:
        _signer(key)
    except (OSError, ValueError, TypeError) as error:
        return (
            f"{key}: {str(error).splitlines()[0] if str(error) else type(error).__name__}; allowed: {_KEYS}"
        )
    return None


def sign(document: dict[str, Any], key: Path) -> bytes:
    """Sign a receipt as a bundle.

    Args:
        document: The receipt, as `receipt.statement` makes it.
        key: Private key in PEM or OpenSSH's format, without a passphrase.

    Raises:
        SettingsError: The key cannot sign a bundle; see `why_not`.
    """
    from securesystemslib.dsse import Envelope

    try:
        signer = _signer(key)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"--wanlora-sign-key: {key}: {error}; allowed: {_KEYS}") from error
    envelope = Envelope(receipt.canonical(attestation(document)), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return receipt.canonical(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": _hint(signer.public_key)}, "tlogEntries": []},
            "dsseEnvelope": envelope.to_dict(),
        }
    )


def attestation(document: dict[str, Any]) -> dict[str, Any]:
    """The in-toto statement of a bundle: a test result, with the receipt as its extension."""
    said = Statement.model_validate(document).predicate
    warned = {Verdict.WARN: "WARNED"}
    tests = [
        (str(each.item), "FAILED" if each.verdict.fails else warned.get(each.verdict, "PASSED"))
        for each in said.items
    ]
    tests += [(each.name, "PASSED" if each.passed else "FAILED") for each in said.project_tests]
    outcomes = [outcome for _, outcome in tests]
    whole = said.verdict.publishable and said.run.exit_status == 0 and "FAILED" not in outcomes
    result = "FAILED" if not whole else "WARNED" if "WARNED" in outcomes else "PASSED"
    return {
        "_type": STATEMENT_TYPE,
        "subject": document["subject"],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": result,
            "configuration": [{"name": said.suite.name, "digest": {"sha256": said.suite.digest.sha256}}],
            **{
                f"{outcome.lower()}Tests": [name for name, of in tests if of == outcome]
                for outcome in ("PASSED", "WARNED", "FAILED")
            },
            "evaluations": [found for each in said.items for found in _evaluations(each)],
            PREDICATE_TYPE: document["predicate"],
        },
    }


def _evaluations(judged: Judgement) -> Iterator[dict[str, Any]]:
    """An item as in-toto's proposal for evaluation results names its fields."""
    common = {
        "test": str(judged.item),
        "passed": not judged.verdict.fails,
        "sampleSize": judged.n,
    }
    if judged.kind == "limit":
        for comparator, threshold in ((">=", judged.minimum), ("<=", judged.maximum)):
            if threshold is not None:
                bound = {"comparator": comparator, "threshold": threshold}
                yield {**common, "metric": judged.metric, **bound, "value": judged.value}
    elif judged.kind == "regression" and judged.fail is not None:
        # relative to the baseline, to the worse
        metric = f"{judged.metric} relative change to the worse"
        yield {
            **common,
            "metric": metric,
            "comparator": "<=",
            "threshold": judged.fail,
            "value": judged.change,
        }


def is_bundle(data: bytes) -> bool:
    """Whether bytes are a sigstore bundle, of any version."""
    try:
        found = parse_json(data)
    except ValueError:
        return False
    return isinstance(found, dict) and str(found.get("mediaType", "")).startswith(
        "application/vnd.dev.sigstore.bundle"
    )


def opened(data: bytes, key: Path | None, *, source: str) -> bytes:
    """Check a bundle and return the receipt in it.

    Args:
        key: Public key that must have signed it, in PEM or OpenSSH's format; None: no signature is looked at.

    Returns:
        The receipt's canonical bytes, which `receipt.parse` reads.

    Raises:
        RecordError: It is no bundle of a receipt, or not signed by that key.
        SettingsError: The key cannot be read, or the extra `sign` is not installed.
    """
    try:
        found = parse_json(data)
        if found["mediaType"] != MEDIA_TYPE:
            raise RecordError(
                f"{source}: mediaType is {str(found['mediaType'])[:80]!r}; allowed: {MEDIA_TYPE}"
            )
        envelope = found["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        base64.b64decode(signature["sig"], validate=True)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise RecordError(f"{source}: payloadType is not {PAYLOAD_TYPE}")
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise RecordError(f"{source}: no sigstore bundle of one DSSE envelope: {what}") from error
    if key is not None:
        _require_signature(envelope, key, source)
    return _receipt_in(payload, source)


def _require_signature(envelope: dict[str, Any], key: Path, source: str) -> None:
    public = _public(key)
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    plain = [{"sig": each["sig"], "keyid": ""} for each in envelope["signatures"]]
    try:
        Envelope.from_dict({**envelope, "signatures": plain}).verify([public], 1)
    except (VerificationError, ValueError) as error:
        raise RecordError(
            f"{source}: not a good signature by {key}: it was changed, or signed by another"
        ) from error


def _receipt_in(payload: bytes, source: str) -> bytes:
    try:
        stated = parse_json(payload)
        predicate = stated["predicate"][PREDICATE_TYPE]
        document = {
            "_type": stated["_type"],
            "subject": stated["subject"],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
        data = receipt.canonical(document)
        receipt.parse(data, source=source)
        again = attestation(document)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise RecordError(f"{source}: it holds no receipt of this package: {what}") from error
    if receipt.canonical(again) != payload:
        raise RecordError(f"{source}: its test result does not follow from the receipt in it")
    return data


def _signer(key: Path) -> CryptoSigner:
    from cryptography.hazmat.primitives import serialization
    from securesystemslib.signer import CryptoSigner

    data = read_regular(key, largest=_LARGEST_KEY)
    load = (
        serialization.load_ssh_private_key
        if b"OPENSSH PRIVATE KEY" in data
        else serialization.load_pem_private_key
    )
    private = load(data, password=None)
    return CryptoSigner(private, _named(private.public_key()))


def _public(path: Path) -> SSlibKey:
    if util.find_spec("securesystemslib") is None:
        raise SettingsError(
            "--public-key: securesystemslib is not installed, and signatures of bundles need it",
            next_command="pip install 'pytest-wanlora[sign]'",
        )
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        data = read_regular(path, largest=_LARGEST_KEY)
        load = (
            serialization.load_pem_public_key
            if data.lstrip().startswith(b"-----BEGIN")
            else serialization.load_ssh_public_key
        )
        return _named(load(data))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SettingsError(
            f"--public-key: {path}: {why}; allowed: {_KEYS}, in PEM or as ssh-keygen writes it",
            next_command=f"ssh-keygen -e -m PKCS8 -f {quote(str(path))}",
        ) from error


def _named(public: Any) -> SSlibKey:  # noqa: ANN401 - one of many types of cryptography
    """A public key without a name: who it is of is what the verifier says."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    on_p256 = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    if not on_p256 and not isinstance(public, Ed25519PublicKey):
        raise ValueError("a key of another kind")
    known = SSlibKey.from_crypto(public)
    return SSlibKey("", known.keytype, known.scheme, known.keyval)


def _hint(public: SSlibKey) -> str:
    """For finding the key among several; SHA-256 of what securesystemslib writes of it."""
    return hashlib.sha256(str(public.keyval["public"]).encode()).hexdigest()
