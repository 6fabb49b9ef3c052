"""Figures, TensorBoard logs and the HTML report, from run folders only: nothing here knows an engine."""
