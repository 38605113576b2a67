"""Models with random batch norms whose statistics are known, for tests of the post-training steps."""

from typing import Any

import pytest
import torch
from torch import Tensor

from evenstep_golden.layers import (
    BatchNorm,
    RPReLU,
)
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq.graph import Graph, pictures
from evenstep_golden.ptq.pipeline import PipelineOptions

SHAPES = {
    "cnn": (1, 16, 16),
    "mlp-256": (1, 8, 8),
    "cnv": (1, 32, 32),
    "ds-cnn": (1, 25, 6),
    "mobilenet-v2-small": (1, 8, 8),
    "resnet8": (1, 8, 8),
}
MODELS = pytest.mark.parametrize("name", SHAPES)


def random_pixels(model: Classifier, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *model.input_shape), generator=generator, dtype=torch.uint8)


def settle(model: Classifier, pixels: Tensor, *, beta: float = 0.5) -> Classifier:
    """Random batch norms, gains of both signs; their statistics are those of `pixels`, nearly exactly."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.weight.normal_(generator=generator)
                module.bias.normal_(beta, 1.0, generator=generator)
                module.momentum = 1.0
            if isinstance(module, RPReLU):
                module.shift_in.normal_(generator=generator)
                module.slope.uniform_(0.1, 0.9, generator=generator)
        model.train()(pixels)
    return model.eval()


def trained(name: str, *, count: int = 16, beta: float = 0.5) -> tuple[Classifier, Tensor]:
    model = build_model(name, SHAPES[name], 10, seed=3)
    pixels = random_pixels(model, count)
    return settle(model, pixels, beta=beta), pixels


def options(weights: str | None = "uniform:8", activations: str | None = "uniform:8", **others: Any) -> PipelineOptions:
    first, second = (None if text is None else Method.parse(text) for text in (weights, activations))
    return PipelineOptions(precision=Precision(first, second), **others)


def logits(model: Classifier, pixels: Tensor) -> Tensor:
    graph = Graph(model)
    (result,) = dict(graph.evaluate(model, [pictures(model, pixels)]))[graph.end]
    return result


def names(links: list[Any]) -> list[tuple[str, str]]:
    return [(link.first, link.second) for link in links]
