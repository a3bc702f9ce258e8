from __future__ import annotations

import numpy as np
import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.rules import packaged_rules
from pytest_wanlora.training_data.similarity import nearest
from tests.unit.training_data.test_survey import Nearest


def test_the_nearest_description_with_its_softmax() -> None:
    place, confidence, cosine = nearest(Nearest(), ["x"], packaged_rules())[0]
    assert packaged_rules().names[place] == "urban"
    assert cosine == pytest.approx(0.1)
    assert confidence == pytest.approx(np.exp(10) / (np.exp(10) + 3))


def test_no_prompts_ask_nothing() -> None:
    asked = Nearest()
    assert nearest(asked, [], packaged_rules()) == []
    assert asked.asked == []


@pytest.mark.parametrize("value", [np.full((1, 4), np.nan), np.zeros((1, 3)), np.zeros((2, 4))])
def test_a_model_that_fails_is_refused(value: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nearest, "cosines", lambda *_: value)
    with pytest.raises(DataError, match="text similarity"):
        nearest(Nearest(), ["x"], packaged_rules())
