"""Figures, tables, claims and the page of a sweep, from what MLflow has tracked."""
