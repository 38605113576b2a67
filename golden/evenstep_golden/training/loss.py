"""What training makes small: cross-entropy with the labels, with a teacher's answers, or with a mixture.

Source of the second: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015); at weight 1 and temperature
1 it is the only loss of the N2UQ paper (section 4.1).
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from evenstep_golden.training.recipe import Recipe

__all__ = ["distillation_loss", "training_loss"]


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy, in nats, of softened answers with a teacher's, times the square of the temperature.

    The square keeps gradients as large as at temperature 1.

    Parameters
    ----------
    logits, teacher_logits : Tensor, shape (positions, classes)
    temperature : float
        What both are divided by, positive.
    """
    targets = (teacher_logits / temperature).softmax(1)
    return cross_entropy(logits / temperature, targets) * temperature**2


def training_loss(logits: Tensor, labels: Tensor, recipe: Recipe, teacher_logits: Tensor | None = None) -> Tensor:
    """Mean loss of a batch, in nats.

    Parameters
    ----------
    logits : Tensor, shape (positions, classes)
        The student's.
    labels : Tensor of int64, shape (positions,)
    recipe : Recipe
        Says label smoothing, weight of the distillation and temperature.
    teacher_logits : Tensor, shape (positions, classes), or None
        Needed where the distillation has a weight.
    """
    weight = recipe.distillation
    if not weight:
        return cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if teacher_logits is None:
        raise ValueError(f"Teacher must be there for a distillation of weight {weight}, not None")
    taught = distillation_loss(logits, teacher_logits, recipe.temperature)
    if weight == 1:
        return taught
    return (1 - weight) * cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing) + weight * taught
