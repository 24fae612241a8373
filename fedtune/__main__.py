"""``python -m fedtune``: the same as the console script."""

from fedtune.commands.main import main

if __name__ == "__main__":
    main()
