"""Speed, measured as ratios within one run. One command each: ``python -m benchmarks.NAME``."""
