"""One program per tool that `benchmarks.peers` compares; each runs by itself, as a file.

They share `common` and import nothing of fedtune (except `ours`), because every tool has an
environment of its own.
"""
