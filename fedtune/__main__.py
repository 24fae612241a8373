"""``python -m fedtune``: the same as the console script."""

from fedtune.cli import main

if __name__ == "__main__":
    main()
