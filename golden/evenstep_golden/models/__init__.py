"""Models: the perceptrons and convolutional networks that the golden model trains and lowers."""

from evenstep_golden.models.base import INPUT_BITS, Classifier
from evenstep_golden.models.convnet import ConvNet
from evenstep_golden.models.depthwise import DepthwiseNet
from evenstep_golden.models.mobilenet import MobileNetV2
from evenstep_golden.models.perceptron import Perceptron
from evenstep_golden.models.registry import MODELS, build_model
from evenstep_golden.models.resnet import ResNet

__all__ = [
    "INPUT_BITS",
    "MODELS",
    "Classifier",
    "ConvNet",
    "DepthwiseNet",
    "MobileNetV2",
    "Perceptron",
    "ResNet",
    "build_model",
]
