"""`python -m casfs`."""

from casfs.cli.main import main

if __name__ == "__main__":
    main()
