"""Neuroevolution with shared parameters (R2R section 4)."""
