"""Writes a model as one HTML page, which recognises drawings (or takes the columns of a table) in any browser.

The page needs no server and no network. Its scripts and style are in ``fastnn/browser``, and the web app uses them as
well; its weights are base64 in JSON.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.labels import is_digit
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import ModelError
from fastnn.formats.page_runner import run_page
from fastnn.formats.plain import divides_by_sum, input_scaling, layers_of
from fastnn.model import LEAST_CALIBRATED, OUTPUT_WORDS
from fastnn.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.model import Model
    from fastnn.network import Network

_MOST_PARAMETERS = 1 << 25
"""With more weights a page has over 90 MB in float16, which phones do not open."""
_MOST_BYTES = 1 << 28
"""The largest page that is read back; the most weights take two thirds of that in float32."""
_MOST_FIELDS = 100
"""Most columns of a table for which a page has a form."""

_PART = 1 << 24
"""Bytes of samples that the page is given at a time."""

_ELEMENTS = re.compile(r"<script[^>]*>\n(.*?)\n</script>", re.DOTALL)


def dump(model: Model, precision: str) -> bytes:
    """Return the content of the page, see :class:`fastnn.formats.export.Exporter`."""
    _check(model)
    network, component, page_script = _scripts(model)
    values = {
        **_words(model, precision),
        "style": _shared("base.css"),
        "model": _as_json(_content(model, precision)),
        "network": network,
        "components": component,
        "page": page_script,
    }
    # In one pass: the name of a class may look like a mark.
    page = re.sub(r"{{(\w+)}}", lambda mark: values[mark[1]], _shared("page.html"))
    return page.encode("utf-8", "replace")


def _check(model: Model) -> None:
    """Raise ModelError with the reason if a page cannot hold the model."""
    if model.takes == "images" and model.n_inputs != PIXELS:
        raise ModelError(
            f"the drawing area of a page gives images of {PIXELS} pixels, but the model takes {model.n_inputs}; "
            f"export it as .onnx or .npz"
        )
    if model.takes == "rows" and len(_columns(model)) > _MOST_FIELDS:
        raise ModelError(
            f"a page has a field for each column, at most {_MOST_FIELDS}, but the model takes "
            f"{len(_columns(model))}; export it as .onnx or .npz"
        )
    n = sum(network.n_parameters for network in model.networks)
    if n > _MOST_PARAMETERS:
        raise ModelError(f"{n:,} weights are too many for a page, which holds {_MOST_PARAMETERS:,}; export it as .npz")


def _shared(name: str) -> str:
    return (files("fastnn") / "browser" / name).read_text(encoding="utf-8").rstrip("\n")


def _script(name: str) -> str:
    """Return a shared script for a page: one script instead of modules, which browsers do not load from files."""
    return re.sub(r"(?m)^export (?=\w)|^import .*\n+", "", _shared(name))


def _scripts(model: Model) -> list[str]:
    """Return the scripts of a page, in their order: what computes, what the web app's pages have too, and the rest."""
    components, page = (("drawing.js", "draw-pad.js"), "page.js") if model.takes == "images" else ((), "form.js")
    return [_script("network.js"), "\n\n".join(map(_script, ("answer.js", *components))), _script(page)]


def _as_json(content: dict[str, Any]) -> str:
    """Return JSON that cannot end the element that holds it."""
    return json.dumps(content, indent=1).replace("<", "\\u003c")


# ---- what the page says ----


def _words(model: Model, precision: str) -> dict[str, str]:
    """Return the texts of the page, escaped."""
    images, digits = model.takes == "images", all(map(is_digit, model.names))
    heading = ("Draw a digit" if digits else "Draw an image") if images else "Predict from a table"
    about = _about(model)
    lead = "The network answers while you draw." if images else "The network answers while you change the values."
    outputs = "digit" if images and digits else {"classes": "class", "labels": "label"}.get(OUTPUT_WORDS[model.task])
    texts = {
        "version": model.card.version or "",
        "title": f"{heading} – {about}",
        "heading": heading,
        "lead": f"{lead} It runs in this page: nothing is sent anywhere.",
        "bars": f"Probability of each {outputs}" if outputs else "Values",
        "about": f"{_network(model)}, weights in {precision}. {about[0].upper()}{about[1:]}.",
    }
    words = {name: escape(text) for name, text in texts.items()}
    words["input"] = _DRAWING if images else _FORM
    words["seen"] = _SEEN if images else ""
    return words


_DRAWING = """<section class="card" aria-label="Your drawing">
  <draw-pad></draw-pad>
</section>"""
_FORM = """<section class="card" aria-label="Values">
  <form id="form" class="fields"></form>
</section>"""
_SEEN = """<div class="seen">
    <canvas class="picture" id="seen" role="img" aria-label="What the network sees, 28 by 28 pixels"></canvas>
    <div>
      <h2>What the network sees</h2>
      <p class="quiet">28 × 28 pixels</p>
    </div>
  </div>"""


def _network(model: Model) -> str:
    n = len(model.networks)
    sizes = " and ".join(dict.fromkeys("-".join(map(str, network.sizes)) for network in model.networks))
    return f"A network of {sizes} units" if n == 1 else f"The mean of {n} networks of {sizes} units"


def _about(model: Model) -> str:
    """Return the recipe and the result on test data."""
    card = model.card
    recipe = "recipe unknown" if card.recipe is None else f"recipe {card.recipe.name}"
    numbers = model.task == "regression"
    result = card.metrics.get("test_r2" if numbers else "test_accuracy")
    if result is None or not result <= 1:
        return f"{recipe}, {'R²' if numbers else 'accuracy'} not measured"
    n = "" if card.data is None or card.data.n_test is None else f"{card.data.n_test:,} "
    what = "images" if model.takes == "images" else "rows"
    return f"{recipe}, {f'R² {result:.3f}' if numbers else f'{result:.1%} correct'} on {n}test {what}"


# ---- what the page computes with ----


def _columns(model: Model) -> list[dict[str, Any]]:
    """Return the columns of a table; those without names are numbered."""
    if model.columns is None:
        return [{"name": f"column {k}"} for k in range(1, model.n_inputs + 1)]
    return [
        {"name": column.name} if column.categories is None else {"name": column.name, "categories": column.categories}
        for column in model.columns
    ]


def split_content(model: Model, precision: str) -> tuple[dict[str, Any], bytes]:
    """Return a model in two parts: what ``readModel`` of the page reads but the weights, and the weights.

    Parameters
    ----------
    model : Model
    precision : {"float16", "float32"}

    Returns
    -------
    content : dict
        In place of ``parameters``, each network has ``offset`` and ``bytes``: where its weights are in the second part.
    weights : bytes
        Little-endian numbers; layer by layer the weights, row by row (a row for each input), and then the biases.

    Raises
    ------
    ModelError
        If a page cannot hold the model.
    """
    _check(model)
    networks, weights = [], bytearray()
    for network in model.networks:
        numbers = _numbers(network, precision)
        networks.append({"layers": _layers(network), "offset": len(weights), "bytes": len(numbers)})
        weights += numbers
    return {**_description(model, precision), "networks": networks}, bytes(weights)


def _content(model: Model, precision: str) -> dict[str, Any]:
    """Return what ``readModel`` of the page reads."""
    networks = [
        {"layers": _layers(network), "parameters": base64.b64encode(_numbers(network, precision)).decode()}
        for network in model.networks
    ]
    return {**_description(model, precision), "networks": networks}


def _description(model: Model, precision: str) -> dict[str, Any]:
    """Return all of a model but its networks."""
    scaling, calibration, targets = input_scaling(model), model.card.calibration, model.target_scaling
    content: dict[str, Any] = {
        "task": model.task,
        "names": model.names,
        "normalise": model.normalise,
        "inputs": {"mean": scaling.mean.tolist(), "factor": scaling.factor.tolist()},
        "dividesBySum": divides_by_sum(model),
        "precision": precision,
    }
    if model.takes == "rows":
        content["columns"] = _columns(model)
    if targets is not None:
        content["targets"] = {"mean": targets.mean.tolist(), "factor": targets.factor.tolist()}
    if calibration is not None:
        slope, offset = calibration.line(len(model.names))
        content["calibration"] = {"slope": slope, "offset": offset, "least": LEAST_CALIBRATED}
    return content


def _layers(network: Network) -> list[dict[str, Any]]:
    layers = []
    for layer in layers_of(network):
        inputs, outputs = layer.weights.shape
        layers.append({"inputs": inputs, "outputs": outputs, "activation": layer.activation})
    return layers


def _numbers(network: Network, precision: str) -> bytes:
    parts = [part for layer in layers_of(network) for part in (layer.weights.ravel(), layer.biases)]
    with np.errstate(over="ignore"):
        numbers = np.concatenate(parts).astype("<f2" if precision == "float16" else "<f4")
    if not np.isfinite(numbers).all():
        remedy = "use --precision float32" if precision == "float16" else "export it as .npz"
        raise ModelError(f"a weight is too large for {precision}; {remedy}")
    return numbers.tobytes()


# ---- running it ----


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:
    """Return what the page's script computes for samples, see :class:`fastnn.formats.export.Exporter`.

    It runs in Chromium, or else in Node. A page with other scripts than those of this version is not run.
    """
    page = read_file(path, _MOST_BYTES, what="a page", error=ModelError).decode("utf-8", "replace")
    if _ELEMENTS.findall(page)[1:] != _scripts(model):
        raise ModelError("this version of fastnn does not write such a page for the model; export it again")
    dense = samples.toarray() if isinstance(samples, SparseRows) else samples
    values = np.ascontiguousarray(dense, dtype="<f8" if model.takes == "rows" else "u1").reshape(-1, model.n_inputs)
    step = max(1, _PART // (model.n_inputs * values.itemsize))
    parts = [values[start : start + step] for start in range(0, len(values), step)]
    found = [_run_part(page, part) for part in parts]
    return np.concatenate([np.empty((0, len(model.names))), *found])


def _run_part(page: str, values: NDArray[Any]) -> NDArray[np.float64]:
    model, network, *_ = _ELEMENTS.findall(page)
    encoded = base64.b64encode(values.tobytes()).decode()
    result = run_page(page, (model, network), f'answersForAll(text, "{encoded}", {values.shape[1]})')
    try:
        return np.array(json.loads(result), dtype=np.float64).reshape(len(values), -1)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its script gives no numbers ({error}); export it again") from None
