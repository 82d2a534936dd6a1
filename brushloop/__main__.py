"""`python -m brushloop` is the command `brushloop`."""

from brushloop.agent.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
