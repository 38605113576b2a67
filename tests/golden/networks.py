"""Models with random parameters, for tests: gains of both signs, uneven intervals, quantizers that have seen data."""

import numpy as np
import torch

from evenstep_golden.layers import RPReLU
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.quantizers import N2UQActivation
from evenstep_golden.training import initialize_quantizers

__all__ = ["quantized", "random_pixels"]


def random_pixels(count: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Pixel codes of `shape`; the first picture is black, the second white."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    pixels[0], pixels[1 % count] = 0, 255
    return torch.from_numpy(pixels)


def quantized(
    model: Classifier | str,
    weights: str,
    activations: str,
    *,
    shape: tuple[int, ...] = (1, 28, 28),
    seed: int = 0,
    pictures: int = 64,
    passes: int = 20,
) -> Classifier:
    """A quantized model in evaluation mode; `model` is one, or the name of one.

    Its statistics come from `passes` over `pictures`: few are enough for integers, many for sensible values.
    """
    if isinstance(model, str):
        model = build_model(model, shape, 10, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    Precision(Method.parse(weights), Method.parse(activations)).apply(model)
    pixels = random_pixels(pictures, model.input_shape, seed)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if "bn" in name:
                if name.endswith("weight"):
                    values.copy_(torch.randn(values.shape, generator=generator))
                elif name.endswith("bias"):
                    values.copy_(torch.randn(values.shape, generator=generator) / 2)
        for module in model.modules():
            if isinstance(module, RPReLU):
                module.slope.uniform_(0.1, 0.9, generator=generator)
                module.shift_in.normal_(generator=generator)
        for place in model.activations().values():
            if isinstance(place.quantizer, N2UQActivation):
                intervals = place.quantizer.intervals
                intervals.mul_(0.5 + torch.rand(intervals.shape, generator=generator))
                if len(intervals) > 1:
                    intervals[0] = -1.0  # counts as the smallest that there is
                    place.quantizer.start.fill_(-0.3)
    initialize_quantizers(model, pixels.numpy())
    model.train()
    with torch.no_grad():
        for _ in range(passes):
            model(pixels)
    return model.eval()
