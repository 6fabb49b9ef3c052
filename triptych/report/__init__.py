"""Figures, TensorBoard logs and the HTML report, from run folders only, without any engine."""
