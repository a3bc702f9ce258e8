"""Policy files: what a team requires of a receipt, reviewed once and kept where only reviews change it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import Field, ValidationError

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import read_regular
from pytest_wanlora.schemas import Count, Finite, Sha256, StrictModel

_LARGEST: Final = 2**20


class Policy(StrictModel):
    """The keys of a policy file; each is an option of `verify`.

    Attributes:
        require: Bounds, `clip>=0.3`.
        scale: Strength that must have been gated.
        baseline_sha256: Digest of `baseline.json`.
        bands: Metric to the largest fail band that may have been in force.
        environment: Key of the receipt's environment to the value that it must have.
        single_videos: Whether an item on the single videos of each scenario must be in it.
        max_runs: Most tries of these bytes.
        signer: Who must have signed; the file of keys is `--allowed-signers`.
    """

    require: tuple[str, ...] = ()
    suite: str | None = None
    suite_sha256: Sha256 | None = None
    scale: Finite | None = None
    min_seeds: Annotated[Count, Field(ge=1)] | None = None
    baseline_sha256: Sha256 | None = None
    bands: dict[str, Annotated[Finite, Field(gt=0)]] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    single_videos: bool = False
    max_runs: Annotated[Count, Field(ge=1)] | None = None
    signer: str | None = None


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        SettingsError: It cannot be read, is not YAML, or has a key or value that is not allowed.
    """

    def wrong(what: str) -> SettingsError:
        allowed = ", ".join(Policy.model_fields)
        return SettingsError(
            f"--policy: {path}: {what}; allowed keys: {allowed}", next_command=f"cat {shlex.quote(str(path))}"
        )

    try:
        found = yaml.safe_load(read_regular(path, largest=_LARGEST))
        if not isinstance(found, dict) or not found:
            raise wrong("it requires nothing: no mapping with at least one key")
        return Policy.model_validate(found)
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise wrong(f"not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise wrong(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
