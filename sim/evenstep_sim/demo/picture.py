"""The demo's picture: images with predictions, and one neuron's staircase."""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evenstep.files import write_file
from evenstep.spec import INPUT, Dense, Network, Thresholds, Weighted
from evenstep_golden.data import Images
from evenstep_sim.demo.run import ImageResult

__all__ = ["draw_demo"]

_RIGHT, _WRONG, _ACCENT = "#1b7f4b", "#c0392b", "#e07a1f"
_COLUMNS, _ROWS = 6, 4
# Most steps that a staircase names its thresholds for.
_NAMED_LEVELS = 16
# Sums at which it is drawn, beside the thresholds.
_POINTS = 2001


def draw_demo(path: Path, network: Network, images: Images, results: list[ImageResult]) -> None:
    """Write the picture of a run as a PNG to `path`.

    `results` are those of the first of `images`; all of them make the histogram behind the staircase.
    """
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
    _draw_staircase(right.subplots(1, 1), network, images)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _padded(results: list[ImageResult]) -> list[ImageResult | None]:
    return [*results, *[None] * (_COLUMNS * _ROWS)]


def _draw_image(axes: Axes, pixels: np.ndarray, result: ImageResult, network: Network) -> None:
    right = result.prediction == result.label
    axes.imshow(pixels[0], cmap="gray_r", interpolation="nearest")
    name = network.labels[result.prediction] if network.labels else str(result.prediction)
    wanted = network.labels[result.label] if network.labels else str(result.label)
    title = name if right else f"{name}\n(is {wanted})"
    axes.set_title(title, fontsize=9, color=_RIGHT if right else _WRONG)


def _choose_neuron(network: Network, images: Images) -> tuple[Weighted, int, np.ndarray]:
    """Layer, channel and sums of the neuron with the most uneven treads, among those that use every code well."""
    best: tuple[float, Weighted, int, np.ndarray] | None = None
    results = dict(zip((layer.name for layer in network.layers), network.boundaries(images.flat), strict=True))
    results[INPUT] = images.flat.reshape(-1, *network.input_shape)
    for layer in network.layers:
        if not isinstance(layer, Weighted) or layer.thresholds is None:
            continue
        taken = results[network.sources(layer)[0]]
        taken = taken.reshape(len(taken), -1) if isinstance(layer, Dense) else taken
        sums, codes = (_by_channel(integers) for integers in (layer.sums(taken), results[layer.name]))
        levels = 2**layer.thresholds.bits
        rarest = np.min([(codes == level).sum(axis=0) for level in range(levels)], axis=0)
        treads = np.diff(layer.thresholds.values, axis=1)
        unevenness = (treads.max(axis=1) + 1) / (treads.min(axis=1) + 1) if levels > 2 else np.ones(layer.outputs)
        score = np.where(rarest * 2 * levels >= len(codes), unevenness, 0)
        channel = int(np.argmax(score))
        if best is None or score[channel] > best[0]:
            best = (float(score[channel]), layer, channel, sums[:, channel])
    assert best is not None
    return best[1:]


def _by_channel(integers: np.ndarray) -> np.ndarray:
    """Integers (positions, channels, ...) as (places, channels)."""
    return np.moveaxis(integers, 1, -1).reshape(-1, integers.shape[1])


def _draw_staircase(axes: Axes, network: Network, images: Images) -> None:
    """Code over sum of one neuron, above a histogram of its sums."""
    layer, neuron, sums = _choose_neuron(network, images)
    assert layer.thresholds is not None
    levels = 2**layer.thresholds.bits
    thresholds = layer.thresholds.values[neuron]
    # The treads fill the middle; what lies far outside is on the lowest or the highest step anyway.
    span = max(levels, int(thresholds[-1] - thresholds[0]))
    ends = int(thresholds[0]) - span, int(thresholds[-1]) + span
    x = np.unique(np.concatenate([np.linspace(*ends, _POINTS).astype(np.int64), thresholds]))
    flips = layer.thresholds.flips[neuron]
    alone = Thresholds(thresholds[None], [bool(flips)])
    histogram = axes.twinx()
    histogram.hist(sums, bins=40, range=(x[0], x[-1]), color="#b9c7d8", alpha=0.7)
    histogram.set_ylabel("sums")
    histogram.set_ylim(0, histogram.get_ylim()[1] * 2.2)
    axes.set_zorder(histogram.get_zorder() + 1)
    axes.patch.set_visible(False)
    for number, threshold in enumerate(thresholds if levels <= _NAMED_LEVELS else [], 1):
        axes.axvline(threshold, color=_ACCENT, linewidth=1, linestyle="--")
        axes.annotate(
            f"T{number} = {threshold}",
            (float(threshold), levels - 0.15),
            rotation=90,
            color=_ACCENT,
            ha="right",
            va="top",
        )
    axes.step(x, alone.apply(x[:, None])[:, 0], where="post", color="#1f3b64", linewidth=2.5)
    axes.set_ylim(-0.3, levels - 0.1)
    axes.set_yticks(range(0, levels, max(1, levels // _NAMED_LEVELS)))
    axes.set_xlabel("integer sum y, as the array counts it")
    axes.set_ylabel("output code")
    treads = np.diff(thresholds)
    uneven = levels > 2 and treads.max() - treads.min() > 1
    what = "uneven treads, even steps" if uneven else "even treads, even steps"
    axes.set_title(f"{layer.name}, neuron {neuron}{', flipped' if flips else ''}: {what}", fontsize=12)
