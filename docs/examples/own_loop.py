"""Exact clipping in a loop of one's own: `python docs/examples/own_loop.py`."""

import torch
from torch import nn

from clipgrid.clipping import clip_by_global_norm

torch.manual_seed(0)
model = nn.Linear(20, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
images, targets = torch.randn(64, 20), 100 * torch.randn(64, 1)

for step in range(5):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(images), targets)
    loss.backward()
    seen = clip_by_global_norm([p.grad for p in model.parameters()], threshold=1.0)
    optimizer.step()
    print(f"step {step}: norm {seen.norm.item():.1f}, scaled by {seen.coefficient.item():.4f}")
