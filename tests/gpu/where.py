"""Where the battery runs."""

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = DEVICE == "cpu"  # a rehearsal
