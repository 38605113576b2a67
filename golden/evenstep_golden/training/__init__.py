"""Training of float and quantized models, in one process or in many."""

from evenstep_golden.training.distributed import Processes, join_processes
from evenstep_golden.training.evaluate import measure_accuracy
from evenstep_golden.training.groups import parameter_groups
from evenstep_golden.training.initialize import copy_parameters, initialize_quantizers
from evenstep_golden.training.log import Log
from evenstep_golden.training.loss import distillation_loss, training_loss
from evenstep_golden.training.recipe import OPTIMIZERS, SCHEDULES, Recipe
from evenstep_golden.training.trainer import Trainer

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Log",
    "Processes",
    "Recipe",
    "Trainer",
    "copy_parameters",
    "distillation_loss",
    "initialize_quantizers",
    "join_processes",
    "measure_accuracy",
    "parameter_groups",
    "training_loss",
]
