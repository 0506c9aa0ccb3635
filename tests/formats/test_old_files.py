"""Every model file that a released version wrote still loads and predicts the same; one file a format."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastnn.formats import load_model

FIXTURES = Path(__file__).parents[1] / "fixtures"


def images() -> np.ndarray:
    """Five patterns that need no generator of random numbers to be made again."""
    pixel = np.arange(784)
    return np.stack([((pixel * (7 + k) + pixel // 28 * 13 * k) % 256).astype(np.uint8) for k in range(5)])


@pytest.mark.parametrize("name", ["model-1-toy-float64", "model-1-relu-float32"])
def test_old_models_predict_the_same(name: str) -> None:
    model = load_model(FIXTURES / f"{name}.safetensors")
    expected = json.loads((FIXTURES / f"{name}.json").read_text())
    np.testing.assert_allclose(model.predict_proba(images()), expected, rtol=1e-5)
