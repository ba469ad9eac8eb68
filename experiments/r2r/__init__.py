"""The experiments of the R2R paper's section 5.2; `python -m experiments.r2r_growth` runs them."""
