from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.frechet import (
    frechet_distance,
    kernel_distance,
    pairwise_kernel,
    read_reference,
    set_scores,
    unbiased_mmd,
    write_reference,
)

DIGEST = "ab" * 32
Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], object]
Rows = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)
counts = st.integers(2, 12)
dimensions = st.integers(1, 10)


def normal(seed: int, rows: int, columns: int, *, scale: float = 1.0, offset: float = 0.0) -> Rows:
    return offset + scale * np.random.default_rng(seed).normal(size=(rows, columns))


def exact_gaussian(seed: int, rows: int, mean: Rows, deviations: Rows) -> Rows:
    """Samples whose sample mean and sample covariance are exactly those asked for."""
    raw = normal(seed, rows, len(mean))
    left, _, right = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)
    return np.asarray(mean + np.sqrt(rows - 1) * (left @ right) * deviations)


def frechet_by_square_root(a: Rows, b: Rows) -> float:
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    offset = a.mean(axis=0) - b.mean(axis=0)
    return float(offset @ offset + np.trace(covariances[0] + covariances[1] - 2.0 * np.real(root)))


def frechet_by_eigenvalues(a: Rows, b: Rows) -> float:
    """The same through tr((R S_b R)^(1/2)), R = S_a^(1/2), which stays stable for singular covariances."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    crossed = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariances[1] @ root), 0, None)).sum()
    offset = a.mean(axis=0) - b.mean(axis=0)
    return float(offset @ offset + np.trace(covariances[0] + covariances[1]) - 2.0 * crossed)


class TestFrechet:
    @pytest.mark.parametrize(("rows", "columns"), [(40, 5), (200, 20), (64, 64 - 2)])
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_a_matrix_square_root(self, rows: int, columns: int, seed: int) -> None:
        mixing = normal(seed + 10, columns, columns)
        a, b = normal(seed, rows, columns) @ mixing, normal(seed + 1, 3 * rows, columns, offset=0.3)
        assert frechet_distance(a, b) == pytest.approx(frechet_by_square_root(a, b), rel=1e-6)

    @pytest.mark.parametrize("seed", range(5))
    def test_closed_form_of_diagonal_gaussians(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        means, deviations = rng.normal(size=(2, 6)), rng.uniform(0.1, 3.0, size=(2, 6))
        expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
        a = exact_gaussian(seed, 30, means[0], deviations[0])
        b = exact_gaussian(seed + 1, 50, means[1], deviations[1])
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize(("n", "m"), [(2, 2), (4, 16), (16, 4), (8, 64)])
    def test_fewer_videos_than_dimensions(self, n: int, m: int) -> None:
        a, b = normal(1, n, 400, scale=2.0), normal(2, m, 400, offset=0.1)
        # 400 eigenvalues of which nearly all are 0 +- 1e-13, so their roots add up to about 1e-4
        assert frechet_distance(a, b) == pytest.approx(frechet_by_eigenvalues(a, b), abs=1e-3)

    def test_both_sides_of_n_equal_d_are_one_formula(self) -> None:
        a, b = normal(1, 10, 10), normal(2, 9, 10)
        wider = np.zeros((10, 4)), np.zeros((9, 4))
        assert frechet_distance(a, b) == pytest.approx(
            frechet_distance(np.hstack([a, wider[0]]), np.hstack([b, wider[1]])), rel=1e-10
        )

    @few
    @given(seeds, counts, dimensions, st.floats(0.01, 100.0))
    def test_identity(self, seed: int, n: int, d: int, scale: float) -> None:
        a = normal(seed, n, d, scale=scale)
        assert 0.0 <= frechet_distance(a, a) <= 1e-10 * scale**2 * d

    @few
    @given(seeds, counts, counts, dimensions)
    def test_symmetry_and_sign(self, seed: int, n: int, m: int, d: int) -> None:
        a, b = normal(seed, n, d), normal(seed + 1, m, d, scale=2.0)
        assert frechet_distance(a, b) >= 0.0
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)

    @few
    @given(seeds, counts, dimensions, st.floats(0.1, 10.0))
    def test_scales_with_the_square(self, seed: int, n: int, d: int, scale: float) -> None:
        a, b = normal(seed, n, d), normal(seed + 1, n + 3, d, offset=1.0)
        assert frechet_distance(scale * a, scale * b) == pytest.approx(
            scale**2 * frechet_distance(a, b), rel=1e-7, abs=1e-9
        )

    @few
    @given(seeds, counts, dimensions, st.floats(0.1, 5.0))
    def test_a_shift_adds_its_square(self, seed: int, n: int, d: int, shift: float) -> None:
        a = normal(seed, n, d)
        assert frechet_distance(a, a + shift) == pytest.approx(d * shift**2, rel=1e-8)

    @few
    @given(seeds, counts, dimensions)
    def test_order_does_not_matter(self, seed: int, n: int, d: int) -> None:
        a, b = normal(seed, n, d), normal(seed + 1, 7, d)
        shuffled = np.random.default_rng(seed).permutation(a)
        assert frechet_distance(shuffled, b) == pytest.approx(frechet_distance(a, b), rel=1e-9, abs=1e-9)

    def test_grows_with_noise(self) -> None:
        reference = normal(1, 300, 8)
        values = [
            frechet_distance(normal(2, 300, 8, scale=scale), reference) for scale in (1.0, 1.5, 2.0, 3.0)
        ]
        assert values == sorted(values)

    def test_same_bits_every_time(self) -> None:
        a, b = normal(1, 16, 400), normal(2, 64, 400)
        assert len({frechet_distance(a, b) for _ in range(3)}) == 1

    def test_float32_is_computed_in_float64(self) -> None:
        a, b = normal(1, 16, 40).astype(np.float32), normal(2, 30, 40).astype(np.float32)
        assert frechet_distance(a, b) == frechet_distance(a.astype(np.float64), b.astype(np.float64))


class TestKernel:
    @few
    @given(seeds, counts, counts, dimensions)
    def test_is_the_polynomial(self, seed: int, n: int, m: int, d: int) -> None:
        x, y = normal(seed, n, d), normal(seed + 1, m, d)
        expected = [[(float(np.dot(row, column)) / d + 1.0) ** 3 for column in y] for row in x]
        assert pairwise_kernel(x, y) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)

    @few
    @given(seeds, counts, counts, dimensions)
    def test_distance_is_the_sum_over_pairs(self, seed: int, n: int, m: int, d: int) -> None:
        x, y = normal(seed, n, d), normal(seed + 1, m, d)

        def kernel(a: Rows, b: Rows) -> float:
            return float((np.dot(a, b) / d + 1.0) ** 3)

        within_x = np.mean([kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j])
        within_y = np.mean([kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j])
        between = np.mean([kernel(a, b) for a in x for b in y])
        assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between, rel=1e-7, abs=1e-7)

    def test_is_unbiased(self) -> None:
        draws = np.array([kernel_distance(normal(2 * i, 6, 5), normal(2 * i + 1, 8, 5)) for i in range(200)])
        error = draws.std(ddof=1) / np.sqrt(len(draws))
        assert abs(draws.mean()) < 3 * error
        # a biased estimate, with the diagonals in, would lie far outside
        assert 3 * error < 1.0
        assert (draws < 0).any()

    @few
    @given(seeds, counts, counts, dimensions)
    def test_symmetry(self, seed: int, n: int, m: int, d: int) -> None:
        a, b = normal(seed, n, d), normal(seed + 1, m, d)
        assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a), rel=1e-9, abs=1e-9)

    def test_grows_with_the_shift(self) -> None:
        reference = normal(1, 100, 8)
        values = [
            kernel_distance(normal(2, 40, 8, offset=offset), reference) for offset in (0.0, 0.5, 1.0, 2.0)
        ]
        assert values == sorted(values)

    def test_relabelling_needs_no_new_kernel(self) -> None:
        stacked = normal(3, 14, 6)
        whole = pairwise_kernel(stacked, stacked)
        for seed in range(5):
            order = np.random.default_rng(seed).permutation(14)
            a, b = order[:6], order[6:]
            value = unbiased_mmd(whole[np.ix_(a, a)], whole[np.ix_(b, b)], whole[np.ix_(a, b)])
            assert value == pytest.approx(kernel_distance(stacked[a], stacked[b]), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, set_scores])
class TestRefusals:
    def test_one_video(self, distance: Distance) -> None:
        with pytest.raises(ScoringError, match="features of 1 video, at least 2"):
            distance(normal(1, 1, 4), normal(2, 8, 4))

    def test_empty_reference(self, distance: Distance) -> None:
        with pytest.raises(ScoringError, match="features of 0 videos, at least 2"):
            distance(normal(1, 8, 4), np.empty((0, 4)))

    def test_other_dimensions(self, distance: Distance) -> None:
        with pytest.raises(ScoringError, match="of 4 and of 5 dimensions"):
            distance(normal(1, 8, 4), normal(2, 8, 5))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, distance: Distance, bad: float) -> None:
        features = normal(1, 8, 4)
        features[[2, 5], 1] = bad
        with pytest.raises(ScoringError, match="NaN or infinite features in rows 2, 5"):
            distance(features, normal(2, 8, 4))

    def test_one_vector(self, distance: Distance) -> None:
        with pytest.raises(ScoringError, match=r"shape \(4,\)"):
            distance(np.ones(4), normal(2, 8, 4))


def test_set_scores_name_their_counts() -> None:
    features, reference = normal(1, 5, 12), normal(2, 20, 12)
    assert set_scores(features, reference) == {
        "fvd": frechet_distance(features, reference),
        "kvd": kernel_distance(features, reference),
        "n": 5.0,
        "reference_n": 20.0,
    }


class TestReference:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "reference.safetensors"

    def test_round_trip(self, path: Path) -> None:
        features = normal(1, 6, 4).astype(np.float32)
        digest = write_reference(path, {"all": features}, frames=9, extractor_sha256=DIGEST)
        reference = read_reference(path, sha256=digest, extractor_sha256=DIGEST)
        assert np.array_equal(reference.sets["all"], features)
        assert (reference.frames, reference.sha256, reference.extractor_sha256) == (9, digest, DIGEST)
        assert not reference.sets["all"].flags.writeable
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    def test_unstated_digest_is_found(self, path: Path) -> None:
        digest = write_reference(path, {"all": normal(1, 6, 4)}, frames=9, extractor_sha256=DIGEST)
        assert read_reference(path, sha256="", extractor_sha256=DIGEST).sha256 == digest

    def test_missing(self, path: Path) -> None:
        with pytest.raises(ScoringError, match="cannot be read: No such file") as caught:
            read_reference(path, sha256=DIGEST, extractor_sha256=DIGEST)
        assert "pytest_wanlora reference" in str(caught.value)

    def test_other_digest(self, path: Path) -> None:
        write_reference(path, {"all": normal(1, 6, 4)}, frames=9, extractor_sha256=DIGEST)
        with pytest.raises(ScoringError, match=r"scoring\.reference_sha256"):
            read_reference(path, sha256=DIGEST, extractor_sha256=DIGEST)

    def test_of_another_extractor(self, path: Path) -> None:
        digest = write_reference(path, {"all": normal(1, 6, 4)}, frames=9, extractor_sha256="cd" * 32)
        with pytest.raises(ScoringError, match="was made by video features of sha256 cdcd"):
            read_reference(path, sha256=digest, extractor_sha256=DIGEST)

    def test_no_safetensors(self, path: Path) -> None:
        path.write_bytes(b"not a tensor")
        with pytest.raises(ScoringError, match="is not a safetensors file"):
            read_reference(path, sha256="", extractor_sha256=DIGEST)

    @pytest.mark.parametrize(
        ("changes", "rows", "words"),
        [
            ({"format": "other"}, 6, "has format 'other'"),
            ({"count": "7"}, 6, "says it holds 7 videos and holds 6"),
            ({"count": "0"}, 0, "features of 0 videos"),
            ({"frames": "nine"}, 6, "has frames 'nine'"),
        ],
        ids=["format", "count", "empty", "frames"],
    )
    def test_contradictions(self, path: Path, changes: dict[str, str], rows: int, words: str) -> None:
        metadata = {
            "format": "wanlora-reference-1",
            "count": "6",
            "frames": "9",
            "extractor_sha256": DIGEST,
            **changes,
        }
        path.write_bytes(safetensors.numpy.save({"all": normal(1, rows, 4)}, metadata))
        with pytest.raises(ScoringError, match=words):
            read_reference(path, sha256="", extractor_sha256=DIGEST)

    @pytest.mark.parametrize("features", [np.ones((1, 4)), np.full((3, 4), np.nan)], ids=["one", "nan"])
    def test_what_could_not_be_read_is_not_written(self, path: Path, features: Rows) -> None:
        with pytest.raises(ScoringError):
            write_reference(path, {"all": features}, frames=9, extractor_sha256=DIGEST)
        assert not path.exists()

    def test_the_file_says_what_it_is(self, path: Path) -> None:
        write_reference(path, {"all": normal(1, 6, 4)}, frames=9, extractor_sha256=DIGEST)
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert header["__metadata__"] == {
            "format": "wanlora-reference-1", "count": "6", "frames": "9", "extractor_sha256": DIGEST,
        }  # fmt: skip
        assert header["all"]["dtype"] == "F32"

    def test_equal_sets_are_equal_files_in_every_process(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; import numpy as np; "
            "from pytest_wanlora.scoring.frechet import write_reference; "
            "rows = np.arange(12, dtype=np.float32).reshape(3, 4); "
            "sets = {name: rows + len(name) for name in sys.argv[2:]}; "
            "print(write_reference(Path(sys.argv[1]), sets, frames=9, extractor_sha256='ab' * 32))"
        )
        names = ["urban", "nature", "wide action", "길"]
        printed = {
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / f"{seed}.safetensors"), *order],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for seed, order in enumerate([names, names[::-1], names])
        }
        files = {path.read_bytes() for path in tmp_path.iterdir()}
        assert len(files) == 1
        assert printed == {hashlib.sha256(files.pop()).hexdigest()}
        made = read_reference(tmp_path / "0.safetensors", sha256="", extractor_sha256=DIGEST)
        assert made.sets["길"].tolist() == (np.arange(12).reshape(3, 4) + 1).tolist()

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ScoringError, match=r"x\.safetensors cannot be written: "):
            write_reference(
                tmp_path / "file" / "x.safetensors",
                {"all": normal(1, 6, 4)},
                frames=9,
                extractor_sha256=DIGEST,
            )
