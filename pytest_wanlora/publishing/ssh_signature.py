"""Signatures of receipts with SSH keys, made and checked by OpenSSH's `ssh-keygen -Y`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import SettingsError

NAMESPACE: Final = "pytest-wanlora"
"""What the signature is for; one made for another purpose does not count."""

_SECONDS = 60.0
_PROBE = b"pytest-wanlora: can this key sign?"


def check_key(key: Path) -> None:
    """Prove that a key can sign, before anything is measured that should be signed with it."""
    sign(_PROBE, key)


def sign(data: bytes, key: Path) -> bytes:
    """Sign bytes.

    Args:
        key: A private SSH key without a passphrase, or the public half of one that an agent holds.

    Raises:
        SettingsError: There is no `ssh-keygen`, or it cannot sign with this key: unreadable, locked by a
            passphrase, no key.
    """
    done = _run(["-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute())], data)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        name = shlex.quote(str(key))
        locked = b"passphrase" in done.stderr
        raise SettingsError(
            f"--wanlora-sign-key (ini: wanlora_sign_key): {key}: ssh-keygen cannot sign with it: "
            f"{_said(done.stderr)}; allowed: a private SSH key that is yours alone to read and has no "
            "passphrase, or the public half, in a .pub file, of one that ssh-agent holds",
            next_command=f"ssh-add {name}" if locked else f"ssh-keygen -y -f {name}",
        )
    return done.stdout


def signature_problem(data: bytes, signature: Path, *, allowed_signers: Path, signer: str) -> str | None:
    """Say what is wrong with a signature; None when it is good.

    Args:
        allowed_signers: File in the format of `ssh-keygen`, ALLOWED SIGNERS.
        signer: Who must have signed, as named there.

    Raises:
        SettingsError: There is no `ssh-keygen`.
    """
    if not signature.is_file():
        return f"{signature}: no such file; a signature of {signer} is required"
    files = ["-f", str(allowed_signers.absolute()), "-s", str(signature.absolute())]
    done = _run(["-Y", "verify", "-n", NAMESPACE, "-I", signer, *files], data)
    if done.returncode == 0:
        return None
    return f"{signature}: not a good signature of {signer}: {_said(done.stderr + done.stdout)}"


def _run(arguments: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise SettingsError(
            "ssh-keygen is not installed, and signatures need it; allowed: OpenSSH 8.2 or newer on the PATH",
            next_command="install OpenSSH (Debian, Ubuntu: apt-get install openssh-client)",
        )
    # a passphrase prompt needs a terminal or a window; a gate has neither and must not wait for one
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "SSH_ASKPASS")}
    try:
        return subprocess.run(  # noqa: S603  the program is found by name, the arguments are one list
            [program, *arguments],
            input=data,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            start_new_session=True,
            env={**environment, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"ssh-keygen does not answer: {error}") from error


def _said(output: bytes) -> str:
    """What the program said, on one line, without anything that a terminal would obey."""
    text = output.decode("utf-8", errors="replace")
    lines = [line.strip(" @\r") for line in text.splitlines()]
    plain = "; ".join(line for line in lines if line)
    return "".join(letter for letter in plain if letter.isprintable())[:400] or "it gave no reason"
