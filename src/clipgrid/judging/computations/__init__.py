"""Statements that need no training to be judged: each is computed, in seconds, whenever claims are
judged. A file a topic; here all of them are declared, without importing torch."""

from clipgrid.judging.computations import (
    gradients,
    images,
    networks,
    optimisation,
    runs,
    smoothness,
    statements,
)

__all__ = ["gradients", "images", "networks", "optimisation", "runs", "smoothness", "statements"]
