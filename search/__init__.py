"""Searches: architectures that are found while they are trained."""
