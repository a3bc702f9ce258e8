"""Read a LoRA: format, rank, targets, alpha, health. Header first, and never with torch.

Data walks ``paths.expand`` -> ``container`` (the file) -> ``formats`` (the names) and ``adapter`` (the
alpha that PEFT keeps elsewhere) -> ``reading`` -> ``record.Checkpoint``.
"""

from __future__ import annotations

from pytest_wanlora.checkpoint.container import Tensor
from pytest_wanlora.checkpoint.experts import EXPERTS, pair
from pytest_wanlora.checkpoint.pair_names import common_name
from pytest_wanlora.checkpoint.pairs import Asked, asked, left_out, names_of, pairs_by_name, read_half
from pytest_wanlora.checkpoint.paths import argument_of, expand, numbered, unique_names
from pytest_wanlora.checkpoint.reading import Contents, contents, read, require_unchanged, weights
from pytest_wanlora.checkpoint.record import Checkpoint, Problem, verify_against
