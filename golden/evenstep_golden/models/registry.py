"""Models by name, for commands and checkpoints."""

from collections.abc import Callable
from functools import partial

import torch

from evenstep.checks import check_choice, check_int
from evenstep_golden.models.base import Classifier
from evenstep_golden.models.convnet import CNV, SMALL, ConvNet
from evenstep_golden.models.depthwise import DepthwiseNet
from evenstep_golden.models.mobilenet import MobileNetV2
from evenstep_golden.models.perceptron import Perceptron
from evenstep_golden.models.resnet import ResNet

__all__ = ["MODELS", "build_model"]

#: Every model, by the name that commands know it by: what makes it for an input shape and a number of classes.
MODELS: dict[str, Callable[..., Classifier]] = {
    "mlp-256": partial(Perceptron, hidden=(256, 256, 256)),
    "mlp-1024": partial(Perceptron, hidden=(1024, 1024, 1024)),
    "cnn": partial(ConvNet, chain=SMALL),
    "cnv": partial(ConvNet, chain=CNV),
    "ds-cnn": DepthwiseNet,
    "resnet8": partial(ResNet, blocks=(1, 1, 1), width=16, stem="small"),
    "resnet20": partial(ResNet, blocks=(3, 3, 3), width=16, stem="small"),
    "resnet18": ResNet,
    "resnet34": partial(ResNet, blocks=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "mobilenet-v2": MobileNetV2,
    "mobilenet-v2-small": partial(
        MobileNetV2,
        stages=((1, 16, 1, 1), (4, 24, 2, 2), (4, 32, 2, 2)),
        first=32,
        last=128,
        stride=1,
    ),
}


def build_model(name: str, input_shape: tuple[int, ...], classes: int, *, seed: int = 0) -> Classifier:
    """The float model called `name`, with weights drawn from `seed`.

    Raises
    ------
    ValueError
        No model is called so, or it cannot take such pictures.
    """
    check_choice("Model", name, tuple(MODELS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_int("Seed", seed, 0, 2**63 - 1))
        return MODELS[name](input_shape, classes)
