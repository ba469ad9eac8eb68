"""Experiments: what growing does to real networks on real data. Not part of the package."""
