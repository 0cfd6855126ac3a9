"""Modules of torch's that the networks are built from: imported when one is built, as they need
torch."""
