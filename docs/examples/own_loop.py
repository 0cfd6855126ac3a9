"""Exact clipping in a loop of one's own: `python docs/examples/own_loop.py norms.csv`."""

import sys

import torch
from torch import nn

from clipgrid.clipping import Clipper

torch.manual_seed(0)
model = nn.Linear(20, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
clipper = Clipper(model, "150", by_layer=True)

for _ in range(200):
    images = torch.randn(64, 20)
    targets = images.sum(1, keepdim=True) + 100 * torch.randn(64, 1)
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(images), targets)
    loss.backward()
    clipper()
    optimizer.step()

clipper.save(sys.argv[1])
print(clipper.advice())
