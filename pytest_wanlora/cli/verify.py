"""`verify`: whether a receipt lets a checkpoint be published."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora.cli.output import BAD, OK, complain, say, say_json
from pytest_wanlora.errors import SettingsError

if TYPE_CHECKING:
    from pytest_wanlora.publishing.predicate import AnyStatement
    from pytest_wanlora.publishing.verify import Demands, Verification


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="whether a receipt lets a checkpoint be published",
        description=(
            "Exit code 0 if the receipt is whole, for these bytes, with a passing verdict, and everything "
            "asked for holds; 1 if not; 4 if a file cannot be read or an option is wrong. Without "
            "--allowed-signers this finds accidents, not forgery: anyone can write a receipt."
        ),
    )
    parser.add_argument("receipt", type=Path, metavar="RECEIPT", help="receipt.json of the gate's run")
    parser.add_argument("checkpoint", type=Path, metavar="FILE", help="the .safetensors to publish")
    parser.add_argument(
        "--require",
        nargs="+",
        action="extend",
        default=[],
        metavar="BOUND",
        help="a limit that must have been in force, as strict or stricter, and kept: 'clip>=0.3', "
        "'fvd<=1140', 'clip>=0.3@all', 'clip>=0.25@SCENARIO'; in quotes",
    )
    parser.add_argument("--suite", metavar="NAME", help="the suite that must have been gated on")
    parser.add_argument("--suite-sha256", metavar="DIGEST", help="SHA-256 of that suite's file")
    parser.add_argument(
        "--max-runs", metavar="N", help="most runs these bytes may have had: running until green shows"
    )
    parser.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="keys that may have signed, as ssh-keygen has it"
    )
    parser.add_argument("--signer", metavar="ID", help="who of them must have signed")
    parser.add_argument(
        "--signature", type=Path, metavar="FILE", help="default: RECEIPT.sig; needs --allowed-signers"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.publishing import verify

    demands = _demands(arguments)
    found = verify.verify(arguments.receipt, arguments.checkpoint, demands)
    if arguments.json:
        say_json(_document(found, demands))
    elif found.verified and found.statement is not None:
        say(_lines(found.statement, demands, signed=found.signed))
    else:
        for problem in found.problems:
            complain(f"refused: {problem}")
    return OK if found.verified else BAD


def _demands(arguments: argparse.Namespace) -> Demands:
    from pytest_wanlora.publishing import verify

    digest, runs = arguments.suite_sha256, arguments.max_runs
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise SettingsError(
            f"--suite-sha256: {digest!r} is no digest; allowed: 64 hexadecimal digits",
            next_command="sha256sum SUITE.yaml",
        )
    if runs is not None and not re.fullmatch("[1-9][0-9]{0,8}", runs):
        raise SettingsError(
            f"--max-runs: {runs!r} is not allowed; allowed: a whole number from 1",
            next_command="--max-runs 1",
        )
    if arguments.signature is not None and arguments.allowed_signers is None:
        raise SettingsError(
            "--signature: without --allowed-signers no signature is looked at; allowed: together",
            next_command="add --allowed-signers FILE --signer ID",
        )
    return verify.Demands(
        bounds=tuple(verify.parse_bound(text) for text in arguments.require),
        suite=arguments.suite,
        suite_sha256=digest,
        max_runs=None if runs is None else int(runs),
        allowed_signers=arguments.allowed_signers,
        signer=arguments.signer,
        signature=arguments.signature,
    )


def _lines(found: AnyStatement, demands: Demands, *, signed: bool) -> Iterator[str]:
    said, (subject,) = found.predicate, found.subject
    yield f"verified: {subject.name}, SHA-256 {subject.digest.sha256}"
    yield f"  {said.verdict.reason}; run {said.runs} of these bytes, at strength {said.checkpoint.scale:g}"
    yield f"  suite {said.suite.name}, SHA-256 {said.suite.digest.sha256}"
    if said.baseline is not None:
        yield f"  baseline {said.baseline.name} of {said.baseline.created}"
        yield from (f"    differs: {line}" for line in said.baseline.differences)
    yield f"  gated {said.run.finished} on {said.environment.get('device_name')}"
    yield from (f"  kept: {bound.text}" for bound in demands.bounds)
    yield (
        f"  signed by {demands.signer}"
        if signed
        else "  no signature was looked at: this shows that nothing was damaged, not who wrote it"
    )


def _document(found: Verification, demands: Demands) -> dict[str, object]:
    statement = found.statement
    return {
        "verified": found.verified,
        "problems": list(found.problems),
        "signed_by": demands.signer if found.signed else None,
        "required": [bound.text for bound in demands.bounds],
        "receipt": None if statement is None else statement.model_dump(mode="json", by_alias=True),
    }
