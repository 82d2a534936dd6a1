"""`python -m brushloop` is the command `brushloop`."""

from brushloop.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
