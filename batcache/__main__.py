"""``python -m batcache`` is the command line; ``torchrun -m batcache`` starts several of it."""

from batcache.cli.main import main

if __name__ == "__main__":
    main()
