"""The demo's picture: images with predictions, and one neuron's staircase."""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evenstep.files import write_file
from evenstep.spec import Network
from evenstep_golden.data import Images
from evenstep_sim.demo.run import ImageResult

__all__ = ["draw_demo"]

_RIGHT, _WRONG, _ACCENT = "#1b7f4b", "#c0392b", "#e07a1f"
_COLUMNS, _ROWS = 6, 4


def draw_demo(path: Path, network: Network, images: Images, results: list[ImageResult]) -> None:
    """Write the picture of a run as a PNG to `path`."""
    figure = Figure(figsize=(14, 7.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1], squeeze=False).flat
    equal = sum(result.mismatch is None for result in results)
    correct = sum(result.prediction == result.label for result in results)
    left.suptitle(
        f"{len(results)} test images on the simulated engine: {correct} right, {equal} equal to the golden model",
        fontsize=12,
    )
    for axes, pixels, result in zip(left.subplots(_ROWS, _COLUMNS).flat, images.pixels, _padded(results), strict=False):
        axes.axis("off")
        if result is not None:
            _draw_image(axes, pixels, result, network)
    layer = len(network.layers) - 2
    _draw_staircase(right.subplots(1, 1), network, layer, images)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _padded(results: list[ImageResult]) -> list[ImageResult | None]:
    return [*results, *[None] * (_COLUMNS * _ROWS)]


def _draw_image(axes: Axes, pixels: np.ndarray, result: ImageResult, network: Network) -> None:
    right = result.prediction == result.label
    axes.imshow(pixels.reshape(28, 28), cmap="gray_r", interpolation="nearest")
    name = network.labels[result.prediction] if network.labels else str(result.prediction)
    wanted = network.labels[result.label] if network.labels else str(result.label)
    title = name if right else f"{name}\n(is {wanted})"
    axes.set_title(title, fontsize=9, color=_RIGHT if right else _WRONG)


def _draw_staircase(axes: Axes, network: Network, index: int, images: Images) -> None:
    """Code over sum of the neuron whose sums use its thresholds best, above a histogram of its sums."""
    layer = network.layers[index]
    assert layer.thresholds is not None
    before = network.boundaries(images.pixels)[index - 1] if index else images.pixels
    sums = layer.sums(before)
    codes = layer.thresholds.apply(sums)
    spread = [np.unique(column, return_counts=True)[1] for column in codes.T]
    levels = 2**layer.thresholds.bits
    neuron = int(np.argmax([counts.min() if len(counts) == levels else 0 for counts in spread]))
    thresholds = layer.thresholds.values[neuron]
    low, high = int(sums[:, neuron].min()), int(sums[:, neuron].max())
    margin = max(1, (high - low) // 12)
    x = np.arange(low - margin, high + margin + 1)
    points = np.zeros((len(x), layer.outputs), np.int64)
    points[:, neuron] = x
    histogram = axes.twinx()
    histogram.hist(sums[:, neuron], bins=40, color="#b9c7d8", alpha=0.7)
    histogram.set_ylabel("images")
    histogram.set_ylim(0, histogram.get_ylim()[1] * 2.2)
    axes.set_zorder(histogram.get_zorder() + 1)
    axes.patch.set_visible(False)
    for number, threshold in enumerate(thresholds, 1):
        axes.axvline(threshold, color=_ACCENT, linewidth=1, linestyle="--")
        axes.annotate(
            f"T{number} = {threshold}",
            (float(threshold), levels - 0.75),
            rotation=90,
            color=_ACCENT,
            ha="right",
            va="top",
        )
    axes.step(x, layer.thresholds.apply(points)[:, neuron], where="post", color="#1f3b64", linewidth=2.5)
    axes.set_ylim(-0.3, levels - 0.6)
    axes.set_yticks(range(levels))
    axes.set_xlabel("integer sum y, as the array counts it")
    axes.set_ylabel("output code")
    flip = ", flipped" if layer.thresholds.flips[neuron] else ""
    axes.set_title(f"{layer.name}, neuron {neuron}{flip}: uneven treads, even steps", fontsize=12)
