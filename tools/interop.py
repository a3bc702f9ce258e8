"""Sign a receipt as a bundle with each kind of key, and have @sigstore/verify check it and a forgery of it.

Run by `make interop`; needs node, npm and a network, so it is no part of the tests.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

from pytest_wanlora.publishing import bundle, receipt
from tests.unit.reports import gated

PACKAGES = ("@sigstore/bundle@4", "@sigstore/verify@3")
SCRIPT = Path(__file__).with_suffix(".mjs")
KEYS = {
    "ecdsa": ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ed25519": ["openssl", "genpkey", "-algorithm", "ED25519"],
}


def main(folder: Path) -> int:
    """Verify in a folder, where node's packages are installed too; 0 if all is as it should be."""
    folder.mkdir(parents=True, exist_ok=True)
    node, npm = (shutil.which(name) for name in ("node", "npm"))
    if node is None or npm is None:
        print("node and npm are needed", file=sys.stderr)
        return 1
    install = [npm, "install", "--silent", "--no-save", "--prefix", str(folder), *PACKAGES]
    subprocess.run(install, check=True)  # noqa: S603 - the arguments are one list
    script = shutil.copy(SCRIPT, folder)
    wrong = 0
    for name, generate in KEYS.items():
        private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        subprocess.run([*generate, "-out", str(private)], check=True, capture_output=True)  # noqa: S603
        subprocess.run(  # noqa: S603
            ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)],  # noqa: S607
            check=True,
        )
        made = bundle.sign(receipt.statement(gated.record(), "epoch-2"), private)
        forged = json.loads(made)
        payload = json.loads(base64.b64decode(forged["dsseEnvelope"]["payload"]))
        payload["predicate"]["result"] = "WARNED"
        forged["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        for kind, data, expected in (("good", made, 0), ("forged", json.dumps(forged).encode(), 1)):
            path = folder / f"{name}-{kind}.sigstore"
            path.write_bytes(data)
            done = subprocess.run(  # noqa: S603
                [node, script, str(path), str(public)], check=False, capture_output=True, text=True
            )
            right = done.returncode == expected
            wrong += not right
            said = (done.stdout or done.stderr).strip().splitlines()
            print(f"{'as expected' if right else 'WRONG'}: {name}, {kind}: {said[-1] if said else ''}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
