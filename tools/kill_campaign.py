"""Kill a process, or fill its disk, at every step of what it writes, and look at what is left.

`python -m tools.kill_campaign` (make campaign) uses strace: one kill and one full disk at each system call
that changes files, and kills at random times. `--small` needs no strace and is in the tests: kills at each
event that Python reports to its audit hooks and at each fsync, and files that may not grow beyond some bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_wanlora import baseline as baselines
from pytest_wanlora import results
from pytest_wanlora.errors import WanloraError
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.publishing import ssh_signature
from pytest_wanlora.publishing.bundle import bundle_path
from pytest_wanlora.publishing.verify import Demands, verify
from pytest_wanlora.reports.writing import _receipt
from tests.unit.baseline.test_store import measured
from tests.unit.jobs.made import job, produced
from tests.unit.reports import gated

#: System calls that change files.
CALLS = (
    "openat,write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,mkdir,rmdir,fsync,fdatasync,"
    "ftruncate,copy_file_range,sendfile,utimensat,close"
)
RANDOM = 200


@dataclass(frozen=True)
class Write:
    """Something that is written.

    Attributes:
        name: What.
        prepare: Writes the old state into a folder.
        write: Writes the new one.
        state: What is there: `old`, `new`, `none`; anything else is a fault.
        allowed: States that may be left.
    """

    name: str
    prepare: Callable[[Path], object]
    write: Callable[[Path], object]
    state: Callable[[Path], str]
    allowed: tuple[str, ...] = ("old", "new")


OLD, NEW = measured(), measured().model_copy(update={"created": "2027-01-01T00:00:00+00:00"})
NEW_FEATURES = NEW.model_copy(
    update={"features": {key: value + np.float32(1) for key, value in NEW.features.items()}}
)
RECORD = gated.record()
LATER = gated.record(finished="2026-01-02T04:00:00+00:00")


def _baseline_state(folder: Path) -> str:
    try:
        found = baselines.load(folder, OLD.suite, OLD.name)
    except WanloraError as error:
        return f"lost: {error.message}"
    key = next(iter(found.features))
    as_old = np.array_equal(found.features[key], OLD.features[key])
    created = "old" if found.created == OLD.created else "new"
    return created if as_old == (created == "old") else "features of the other measurement"


def _cache_state(folder: Path) -> str:
    found = Cache(folder).load(job(), reused=True)
    if found is None:
        return "none"
    return {1.5: "old", 2.5: "new"}.get(found.seconds, "another result")


def _store(folder: Path, seconds: float) -> None:
    cache = Cache(folder)
    cache.prepare()
    cache.store(job(), dataclasses.replace(produced(job()), seconds=seconds))


def _record_state(folder: Path) -> str:
    try:
        found = results.load(folder / "results.json")
    except WanloraError as error:
        return f"lost: {error.message}"
    return "old" if found.finished == RECORD.finished else "new"


def _write_receipt(folder: Path) -> None:
    for _ in _receipt(RECORD, "epoch-2", folder / "key", folder / "receipt.json"):
        pass


def _receipt_state(folder: Path) -> str:
    path = folder / "receipt.json"
    if not path.exists():
        return "none"
    checkpoint = gated.checkpoint_file(folder)
    signed = Demands(allowed_signers=folder / "signers", signer="gate")
    found = verify(path, checkpoint, signed)
    if found.problems:
        return f"half: {found.problems[0]}"
    bundled = verify(bundle_path(path), checkpoint, Demands(public_key=folder / "key.pub"))
    return f"half: {bundled.problems[0]}" if bundled.problems else "new"


def _prepare_receipt(folder: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
    subprocess.run(command, check=True)  # noqa: S603 - the arguments are one list
    public = (folder / "key.pub").read_text()
    (folder / "signers").write_text(f'gate namespaces="{ssh_signature.NAMESPACE}" {public}')


WRITES = (
    Write(
        "baseline",
        lambda folder: baselines.write(OLD, folder),
        lambda folder: baselines.write(NEW_FEATURES, folder),
        _baseline_state,
    ),
    # an entry that is replaced is rendered again where neither is left
    Write(
        "cache",
        lambda folder: _store(folder, 1.5),
        lambda folder: _store(folder, 2.5),
        _cache_state,
        ("old", "new", "none"),
    ),
    Write(
        "record",
        lambda folder: results.write(RECORD, folder / "results.json"),
        lambda folder: results.write(LATER, folder / "results.json"),
        _record_state,
    ),
    # the run removes the old one before it writes a new one
    Write("receipt", _prepare_receipt, _write_receipt, _receipt_state, ("none", "new")),
)


class Trials:
    """Trials of one write, each in a copy of the old state.

    Args:
        write: What is written.
        folder: Where.
    """

    def __init__(self, write: Write, folder: Path) -> None:
        self.write = write
        self.template = folder / "old"
        self.template.mkdir(parents=True)
        write.prepare(self.template)
        self.place = folder / "trial"
        self.found: Counter[str] = Counter()
        self.faults: list[str] = []
        self.trials = 0

    def run(self, how: str, inside: Callable[[], None], outside: Callable[[int], Any] | None = None) -> int:
        """Write in a child process; returns its wait status.

        Args:
            how: For the report.
            inside: Called in the child before it writes.
            outside: Called with the child's id in the parent.
        """
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template, self.place, symlinks=True)
        child = os.fork()
        if child == 0:
            self._child(inside)
        attached = None if outside is None else outside(child)
        _, status = os.waitpid(child, 0)
        if attached is not None:
            attached.wait()
        self.trials += 1
        state = self.write.state(self.place)
        self.found[state] += 1
        if state not in self.write.allowed:
            self.faults.append(f"{self.write.name}, {how}: {state}")
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and state != "new":
            self.faults.append(f"{self.write.name}, {how}: it ended well and left {state}")
        return status

    def _child(self, inside: Callable[[], None]) -> None:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - for its descriptor
                os.dup2(nowhere.fileno(), 2)
            inside()
            self.write.write(self.place)
            code = 0
        except (WanloraError, OSError):
            code = 2
        finally:
            os._exit(code)


class _Dies:
    """Kills the process at the n-th event; n = 0 counts them into a file."""

    EVENTS = ("open", "os.", "shutil.", "fsync")

    def __init__(self, at: int, count: Path) -> None:
        self.at = at
        self.count = count
        self.seen = 0

    def __call__(self) -> None:
        descriptor = os.open(self.count, os.O_WRONLY | os.O_CREAT)
        real = os.fsync

        def event(name: str) -> None:
            if not name.startswith(self.EVENTS):
                return
            self.seen += 1
            if self.at == 0:
                os.pwrite(descriptor, f"{self.seen:6d}".encode(), 0)
            elif self.seen == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

        def fsync(number: int) -> None:
            event("fsync")
            real(number)

        os.fsync = fsync  # type: ignore[assignment]  # in a child that ends here
        sys.addaudithook(lambda name, _: event(name))


def small(trials: Trials, folder: Path) -> None:
    """Kills at events, and files that may not grow."""
    note = folder / f"{trials.write.name}.count"
    trials.run("counting", _Dies(0, note))
    events = int(note.read_text())
    for at in range(1, events + 1):
        trials.run(f"killed at event {at} of {events}", _Dies(at, note))
    for size in (0, 1, 100, 4096):
        for action, word in ((signal.SIG_DFL, "killed"), (signal.SIG_IGN, "refused")):

            def limited(size: int = size, action: Any = action) -> None:  # noqa: ANN401 - a signal's action
                signal.signal(signal.SIGXFSZ, action)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

            trials.run(f"{word} beyond {size} bytes", limited)


def _traced(*options: str) -> Callable[[int], subprocess.Popen[str]]:
    def attach(child: int) -> subprocess.Popen[str]:
        command = ["strace", "-e", f"trace={CALLS}", *options, "-p", str(child)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - the same
        assert process.stderr is not None
        process.stderr.readline()  # "attached"
        process.stderr.close()
        os.kill(child, signal.SIGUSR1)
        return process

    return attach


def _waits() -> None:
    """Wait until strace is attached."""
    signal.sigwait([signal.SIGUSR1])


def full(trials: Trials, folder: Path, seed: int) -> None:
    """Kills and full disks at each system call, and kills at random times."""
    log = folder / f"{trials.write.name}.log"
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    trials.run("counting", _waits, _traced("-o", str(log)))
    calls = sum(not line.startswith(("---", "+++")) for line in log.read_text().splitlines())
    for at in range(1, calls + 1):
        kill = f"inject={CALLS}:signal=KILL:when={at}"
        trials.run(f"killed at call {at} of {calls}", _waits, _traced("-o", os.devnull, "-e", kill))
        disk = f"inject={CALLS.removesuffix(',close')}:error=ENOSPC:when={at}+"
        trials.run(f"disk full from call {at} of {calls}", _waits, _traced("-o", os.devnull, "-e", disk))
        once = f"inject={CALLS.removesuffix(',close')}:error=ENOSPC:when={at}"
        trials.run(f"disk full at call {at} of {calls}", _waits, _traced("-o", os.devnull, "-e", once))
    started = time.perf_counter()
    trials.run("timing", lambda: None)
    seconds = time.perf_counter() - started
    rng = random.Random(seed)  # noqa: S311 - times, no secret
    for number in range(RANDOM):
        after = rng.uniform(0.0, seconds)

        def kill_later(child: int, after: float = after) -> None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

        trials.run(f"random {number}: killed after {after * 1e3:.2f} ms", lambda: None, kill_later)
    print(f"{trials.write.name}: {calls} system calls")


def _all(arguments: argparse.Namespace) -> Iterator[Trials]:
    with tempfile.TemporaryDirectory(prefix="kills-") as root:
        for write in WRITES:
            if arguments.only not in (None, write.name):
                continue
            folder = Path(root) / write.name
            trials = Trials(write, folder)
            if arguments.small:
                small(trials, folder)
            else:
                full(trials, folder, arguments.seed)
            yield trials


def main() -> int:
    """Run; 0 if nothing was lost or half written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=[write.name for write in WRITES])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.small and shutil.which("strace") is None:
        print("strace is needed (Debian, Ubuntu: apt-get install strace)")
        return 1
    faults = []
    for trials in _all(arguments):
        left = ", ".join(f"{count} {state}" for state, count in sorted(trials.found.items()))
        print(f"{trials.write.name}: {trials.trials} trials, {len(trials.faults)} faults; left: {left}")
        faults += trials.faults
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
