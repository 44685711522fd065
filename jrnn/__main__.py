"""``python -m jrnn``: the command line."""

import sys

from jrnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
