"""Operators that are worth a kernel of their own: one folder each, with a PyTorch reference that is the ground truth."""
