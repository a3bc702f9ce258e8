"""Suites: what to render, how to score it and what may be published; loaded from YAML."""

from pytest_wanlora.suite.files import FileReference, refuse_repeated, resolve, verify
from pytest_wanlora.suite.fingerprint import check_digests, identity, references, stated, stated_at
from pytest_wanlora.suite.fit import (
    by_shapes,
    check_fit,
    chosen_by,
    contradicting_names,
    find_for,
    fits_experts,
    fitting_for,
    gate_command,
    half_alone,
    misfits,
    other_shapes,
    other_weights,
)
from pytest_wanlora.suite.header import other_model
from pytest_wanlora.suite.loading import gated_set, load, option_value, packaged
from pytest_wanlora.suite.model_files import Architecture, Experts, ModelFiles, Stacked
from pytest_wanlora.suite.sampling import LEVERS, Sampling
from pytest_wanlora.suite.schema import (
    DEFAULT_TOLERANCES,
    ClipScorer,
    Limit,
    Scenario,
    Scoring,
    Seeds,
    Suite,
    Tolerance,
    VideoFeatures,
    unreadable_by_clip,
)
