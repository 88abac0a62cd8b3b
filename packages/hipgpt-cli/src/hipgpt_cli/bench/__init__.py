"""Benchmarks of training, generation and single ops, beside PyTorch in the same process."""
