"""`ray doctor`: whether the nodes of a Ray cluster can render a suite."""

from __future__ import annotations

import argparse

from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import BAD, OK, say
from pytest_wanlora.errors import SuiteError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("ray", help="whether the nodes of a Ray cluster can render a suite")
    kinds = parser.add_subparsers(dest="ray_command", required=True, metavar="COMMAND")
    doctor = kinds.add_parser(
        "doctor",
        help="what the nodes are, and what they lack",
        description=(
            "Looks at every node, as a gate does before it renders: versions, GPUs and drivers, model files, "
            "memory. Exit code 1 if something is missing or differs."
        ),
    )
    doctor.add_argument("address", metavar="ADDRESS", help="auto, local, HOST:PORT or ray://HOST:PORT")
    doctor.add_argument(
        "--suite",
        default=None,
        metavar="NAME|FILE",
        help="default: the one of pytest's settings, else every packaged suite",
    )
    doctor.add_argument(
        "--device", default=None, choices=("auto", "cpu", "cuda"), help="default: the suite's"
    )
    doctor.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="for a node's answer; default: 60"
    )
    doctor.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    # not above: `verify` runs where little more than Python is installed
    from pytest_wanlora.hooks.ini_files import of_project
    from pytest_wanlora.run.remote import examine_for

    code, settings = OK, of_project()
    named = arguments.suite or settings.suite
    for name in suites.packaged() if named is None else [named]:
        suite = suites.load(name, baselines=settings.baselines_dir)
        device = arguments.device or suite.device
        if ":" in device:
            raise SuiteError(
                f"{suite.where('device')}: device is {device}, one GPU of one machine; allowed on a cluster: "
                "auto, cpu, cuda",
                next_command=f"python -m pytest_wanlora ray doctor {arguments.address} --device cuda",
            )
        cluster, findings = examine_for(arguments.address, suite, device, wait=arguments.wait)
        try:
            say([f"Ray at {arguments.address}: {cluster.words}, for suite {suite.name}"])
            for node in cluster.nodes:
                kinds = "; ".join(each.kind for each in node.hardware) or "could not be looked at"
                say([f"  {node.name}: {node.slots} x {kinds}"])
            count = len(findings)
            say(
                [f"suite {suite.name}: {f'{count} missing or different' if count else 'everything is there'}"]
            )
            for number, found in enumerate(findings, 1):
                say(found.lines(number))
            code = BAD if count else code
        finally:
            cluster.close()
    return code
