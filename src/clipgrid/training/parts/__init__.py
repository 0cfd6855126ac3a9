"""The optimizers, clip kinds and schedules that come with clipgrid. Planning imports these files,
which must not import torch at once."""
