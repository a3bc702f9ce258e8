"""`verify`: whether a receipt lets a checkpoint be published."""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.cli.output import BAD, OK, complain, of_command, say, say_json
from pytest_wanlora.errors import CheckpointError, SettingsError, WanloraError
from pytest_wanlora.files import file_sha256
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import digits
from pytest_wanlora.publishing.bounds import HELP, parse_bound, where_lax
from pytest_wanlora.publishing.policy import Policy, read_policy
from pytest_wanlora.results.folders import RECORD

if TYPE_CHECKING:
    from pytest_wanlora.publishing.predicate import AnyStatement, PredicateV1
    from pytest_wanlora.publishing.verify import Demands, Verification

#: Nothing in a receipt tells that an item and its limit were left out, and it was sealed again.
_UNCHECKED: Final = (
    "whether the suite demands more than the receipt says, since its file is not read; name what must be in "
    "it with --require, --band or --policy"
)
#: A suite takes no more.
_MOST_SEEDS: Final = 1000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="whether a receipt lets a checkpoint be published",
        description=(
            "Exit code 0 if the receipt is whole, for these bytes, with a passing verdict, and everything "
            "asked for holds; 1 if not; 4 if a file cannot be read or an option is wrong. Without "
            "--allowed-signers or --public-key this finds accidents, not forgery: anyone can write a receipt."
        ),
    )
    parser.add_argument(
        "receipt",
        type=Path,
        metavar="RECEIPT",
        help="receipt.json of the gate's run, or receipt.json.sigstore",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="FILE",
        help="the .safetensors to publish; of a pair 'high=FILE,low=FILE', with '@0.8' behind a file that "
        "was gated at that strength",
    )
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
        "--scale", metavar="NUMBER", help="strength of the LoRA that must have been gated (default: 1)"
    )
    parser.add_argument("--min-seeds", metavar="N", help="fewest videos of each scenario")
    parser.add_argument("--baseline-sha256", metavar="DIGEST", help="SHA-256 of the baseline's baseline.json")
    parser.add_argument(
        "--band",
        nargs="+",
        action="extend",
        default=[],
        metavar="BAND",
        help="the largest fail band of a metric, relative: 'fvd<=0.25'; in quotes",
    )
    parser.add_argument(
        "--environment",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="what the receipt's environment must say, such as 'device_name=NVIDIA H200'",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="a YAML file with these demands, by the options' names"
    )
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
    parser.add_argument(
        "--public-key",
        type=Path,
        metavar="FILE",
        help="key that must have signed receipt.json.sigstore, in PEM or as ssh-keygen writes it",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run_command=_run, surplus=_second_file)


def _second_file(found: argparse.Namespace, unknown: list[str], words: list[str]) -> SettingsError | None:
    """The error for the halves of a pair that were given one by one; None for other words."""
    from pytest_wanlora.checkpoint.pair_words import as_pair
    from pytest_wanlora.reports.commands import typed

    first = str(found.checkpoint)
    meant = as_pair([first, *unknown]) if not any(word.startswith("-") for word in unknown) else ""
    if not meant:
        return None
    again = [meant if word == first else word for word in words if word not in unknown]
    return SettingsError(
        f"verify: {unknown[0]}: a second file; allowed: one file, or both halves of a pair in one word, "
        "high=FILE,low=FILE",
        next_command=typed("python", "-m", "pytest_wanlora", "verify", *again),
    )


def _run(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.publishing import verify

    if arguments.receipt.suffix.lower() == ".safetensors" and arguments.checkpoint.suffix.lower() in (
        ".json",
        ".sigstore",
    ):
        raise SettingsError(
            f"{arguments.receipt}: a LoRA in the place of the receipt, and {arguments.checkpoint} in that of "
            "the LoRA; allowed: the receipt first",
            next_command="python -m pytest_wanlora verify "
            + shlex.join([str(arguments.checkpoint), str(arguments.receipt)]),
        )
    demands = _demands(arguments)
    try:
        found = verify.verify(arguments.receipt, arguments.checkpoint, demands)
    except CheckpointError as error:
        raise of_command(error, "verify", shlex.quote(str(arguments.receipt))) from error
    if arguments.json:
        say_json(_document(found, demands))
    elif found.verified and found.statement is not None:
        say(_lines(found.statement, demands, found))
    else:
        for problem in found.problems:
            complain(f"refused: {problem}")
        if not any("next: " in problem for problem in found.problems):
            complain(f"next: {_next(arguments, demands, found)}")
    return OK if found.verified else BAD


def _next(arguments: argparse.Namespace, demands: Demands, found: Verification) -> str:
    """The command as it was typed with the files that the receipt is for; else the one that gates these."""
    from pytest_wanlora.reports.commands import typed

    if not found.instead:
        said = None if found.statement is None else found.statement.predicate
        return _gate(arguments.checkpoint, demands, said, found.record)
    again = [found.instead if Path(word) == arguments.checkpoint else word for word in arguments.words]
    if found.statement is not None and arguments.scale is None and arguments.policy is None:
        # where no strength was demanded the receipt's own is named: without it, it is refused once more
        scale = found.statement.predicate.checkpoint.scale
        again += [] if scale == demands.scale else ["--scale", digits(scale)]
    return typed("python", "-m", "pytest_wanlora", *again)


def _gate(checkpoint: Path, demands: Demands, said: PredicateV1 | None, record: Path | None) -> str:
    """The command that gates the checkpoint as it is demanded; if it passes, it writes a new receipt."""
    from pytest_wanlora.checkpoint.pairs import for_experts
    from pytest_wanlora.reports.commands import typed
    from pytest_wanlora.suite import load, packaged

    lax = [] if said is None else list(_too_lax(demands, said))
    suite = _suite(demands, said, record)
    # nobody edits what is installed
    copied = bool(lax) and suite in packaged()
    options = ["--wanlora-suite", suite] if suite and not copied else []
    if demands.scale != 1 or (said is not None and said.checkpoint.scale != 1):
        options += ["--wanlora-scale", digits(demands.scale)]
    fewest = demands.min_seeds or 0
    if said is not None and min(map(len, said.seeds.values()), default=fewest) < fewest <= _MOST_SEEDS:
        options += ["--wanlora-seeds", f"{fewest}:{max(fewest, *said.suite.looks)}"]
    lora = str(checkpoint)
    if suite in packaged() and load(packaged()[suite]).model.experts:
        lora = for_experts(checkpoint)
    command = typed("pytest", "--lora", lora, *options)
    if not lax:
        return command
    where = f"suite {suite}" if suite else "the suite"
    where = f"a copy of {where}, which python -m pytest_wanlora init writes" if copied else where
    return f"write {', '.join(lax)} of {where}, then {command}"


def _too_lax(demands: Demands, said: PredicateV1) -> Iterator[str]:
    """What is demanded and stays so on the suite as it is, as its file has it."""
    bounds = [f"'{bound.yaml}'" for bound in demands.bounds if where_lax(said, bound)]
    if bounds:
        yield f"{' and '.join(bounds)} below limits"
    bands = []
    for metric, band in demands.bands.items():
        force = said.suite.tolerances.get(metric)
        if force is None or force.fail > band:
            usual = METRICS[metric].tolerance
            warn = force.warn if force is not None else band if usual is None else usual[0]
            bands.append(f"'{metric}: {{warn: {min(warn, band):g}, fail: {min(1.0, band):g}}}'")
    if bands:
        yield f"{' and '.join(bands)} below tolerances"


def _suite(demands: Demands, said: PredicateV1 | None, record: Path | None) -> str:
    """What `--wanlora-suite` takes to get the suite that is demanded; empty: what pytest's settings name.

    A name says too little: a project's own suite may be called as a packaged one.
    """
    from pytest_wanlora import results
    from pytest_wanlora.suite import packaged

    name = demands.suite or ("" if said is None else said.suite.name)
    same = said is not None and said.suite.name == name
    digest = demands.suite_sha256 and demands.suite_sha256.lower()
    wanted = digest or (said.suite.digest.sha256 if said is not None and same else None)
    own = packaged().get(name)
    if own is not None and wanted in (None, file_sha256(own)):
        return name
    if not same:
        return "" if own is not None else name
    with suppress(WanloraError, OSError):
        paths = None if record is None else results.load(record).paths
        # as it is now: who demands no digest may have edited it
        now = None if paths is None else file_sha256(paths.suite)
        if paths is not None and digest in (None, now):
            return paths.suite
    return ""


def _demands(arguments: argparse.Namespace) -> Demands:
    from pytest_wanlora.publishing import verify

    for name in ("suite_sha256", "baseline_sha256"):
        digest, option = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise SettingsError(
                f"{option}: {digest!r} is no digest; allowed: 64 hexadecimal digits, which sha256sum prints",
                next_command=HELP,
            )
    for name in ("max_runs", "min_seeds"):
        number, option = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if number is not None and not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise SettingsError(
                f"{option}: {number!r} is not allowed; allowed: a whole number from 1",
                next_command=HELP,
            )
    policy = Policy() if arguments.policy is None else read_policy(arguments.policy)
    if arguments.signature is not None and arguments.allowed_signers is None:
        raise SettingsError(
            "--signature: without --allowed-signers no signature is looked at; allowed: together",
            next_command=HELP,
        )
    given = {
        "suite": arguments.suite,
        "suite_sha256": arguments.suite_sha256,
        "scale": None if arguments.scale is None else _number("--scale", arguments.scale),
        "min_seeds": None if arguments.min_seeds is None else int(arguments.min_seeds),
        "baseline_sha256": arguments.baseline_sha256,
        "max_runs": None if arguments.max_runs is None else int(arguments.max_runs),
        "signer": arguments.signer,
    }
    for name in given:
        if given[name] is not None and getattr(policy, name) is not None:
            raise _stated_twice(f"--{name.replace('_', '-')}", arguments.policy)
    chosen: dict[str, Any] = {
        name: getattr(policy, name) if value is None else value for name, value in given.items()
    }
    bands = dict(_band(text) for text in arguments.band)
    environment = dict(_pair(text) for text in arguments.environment)
    for option, given_by, known in (
        ("--band", bands, policy.bands),
        ("--environment", environment, policy.environment),
    ):
        for key in sorted(given_by.keys() & known):
            raise _stated_twice(f"{option}: {key}", arguments.policy)
    if chosen["scale"] is None:
        del chosen["scale"]
    if unknown := sorted(policy.bands.keys() - METRICS.keys()):
        raise SettingsError(
            f"--policy: {arguments.policy}: bands.{unknown[0]}: no such metric; "
            f"allowed: {', '.join(METRICS)}",
            next_command=f"cat {shlex.quote(str(arguments.policy))}",
        )
    return verify.Demands(
        bounds=tuple(parse_bound(text) for text in (*policy.require, *arguments.require)),
        bands={**policy.bands, **bands},
        strict=arguments.policy is not None,
        single_videos=policy.single_videos,
        environment={**policy.environment, **environment},
        allowed_signers=arguments.allowed_signers,
        signature=arguments.signature,
        public_key=arguments.public_key,
        **chosen,
    )


def _stated_twice(option: str, policy: Path) -> SettingsError:
    """A demand of the command line and of the policy: the one may not loosen the other."""
    return SettingsError(
        f"{option}: the policy {policy} has it too; allowed: in one of both",
        next_command=f"cat {shlex.quote(str(policy))}",
    )


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"{option}: {text!r} is not allowed; allowed: a number, such as 1.0", next_command=HELP
        )
    return value


def _band(text: str) -> tuple[str, float]:
    metric, sign, number = text.partition("<=")
    if not sign or metric.strip() not in METRICS:
        raise SettingsError(
            f"--band: {text!r} is no band; allowed: 'METRIC<=NUMBER' in quotes, such as 'fvd<=0.25', with "
            f"one of {', '.join(METRICS)}",
            next_command=HELP,
        )
    band = _number("--band", number)
    if band <= 0:
        raise SettingsError(
            f"--band: {text!r}: no suite has such a fail band; allowed: a number above 0", next_command=HELP
        )
    return metric.strip(), band


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise SettingsError(
            f"--environment: {text!r} is not allowed; allowed: KEY=VALUE, of the receipt's environment",
            next_command=HELP,
        )
    return key, value


def _lines(found: AnyStatement, demands: Demands, result: Verification) -> Iterator[str]:
    from pytest_wanlora.publishing.verify import decided

    said, (subject,) = found.predicate, found.subject
    yield f"verified: {subject.name}, SHA-256 {subject.digest.sha256}"
    # not the receipt's own sentence, which nothing holds to its numbers
    yield f"  {decided(said).reason}; run {said.runs} of these bytes, at strength {said.checkpoint.strength}"
    yield f"  suite {said.suite.name}, SHA-256 {said.suite.digest.sha256}"
    if said.baseline is not None:
        yield f"  baseline {said.baseline.name} of {said.baseline.created}"
        yield from (f"    differs: {line}" for line in said.baseline.differences)
    yield f"  gated {said.run.finished} on {said.environment.get('device_name')}"
    yield from (f"  kept: {bound.text}" for bound in demands.bounds)
    record = "" if result.record is None else f"; all of it against {result.record}"
    yield (
        "  checked: the file and the receipt against their digests; the verdicts against the numbers, limits "
        f"and bands in the receipt{record}"
    )
    if result.signed:
        yield f"  signed by {' and '.join(_signers(demands))}"
        return
    alone = (
        "" if result.record is not None else f", since {RECORD} of the run does not lie beside the receipt"
    )
    yield f"  checked against nothing else: scores, seeds, environment, versions, names and times{alone}"
    yield f"  not checked: {_UNCHECKED}"
    yield (
        "  no signature was looked at: anyone can write a receipt that fits, so it proves nothing of who "
        "wrote it; ask for one with --allowed-signers or --public-key"
    )


def _signers(demands: Demands) -> list[str]:
    return [str(each) for each in (demands.signer, demands.public_key) if each is not None]


def _document(found: Verification, demands: Demands) -> dict[str, object]:
    statement = found.statement
    return {
        "verified": found.verified,
        "problems": list(found.problems),
        "held_to": None if found.record is None else str(found.record),
        "not_checked": [] if found.signed else [_UNCHECKED],
        "signed_by": " and ".join(_signers(demands)) if found.signed else None,
        "required": [bound.text for bound in demands.bounds],
        "receipt": None if statement is None else statement.model_dump(mode="json", by_alias=True),
    }
