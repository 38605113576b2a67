"""Implementations of a network side by side on one input, and where they first differ."""
