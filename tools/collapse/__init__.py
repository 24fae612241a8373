"""The page on the collapse: what was expected, what was seen, and what that decides.

    python -m tools.collapse --published PUBLISHED --store trials --out docs/results/collapse

Reads round logs alone: those of the published miniature study (unpacked into PUBLISHED), from which
the expectations are made again by ``tools.step_law``, and those of ``experiments/starve/*.yaml``.
"""
