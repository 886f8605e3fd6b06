"""Weights in the names and orders of other libraries."""
