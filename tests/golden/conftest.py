"""One torch thread: models here are small, and threads that wait for each other make them slower, not faster."""

import torch

torch.set_num_threads(1)
