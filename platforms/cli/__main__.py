"""`python -m platforms.cli`: the same as `cfes`."""

import sys

from platforms.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
