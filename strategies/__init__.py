"""Unlearning strategies: one method, one file."""
