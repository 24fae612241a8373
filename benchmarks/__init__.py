"""Measurements: run from a clone, never asserted in tests."""
