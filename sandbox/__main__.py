"""`python -m sandbox`: serve the remote API on loopback until interrupted."""

import sys

from sandbox.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
