"""Losses: free functions from tensors to a scalar."""
