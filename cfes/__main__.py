"""`python -m cfes`: the same as the command `cfes`."""

import sys

from cfes import main

if __name__ == "__main__":
    sys.exit(main())
