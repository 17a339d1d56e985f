"""The actions, one file each; what an action is lies in `contract`, what several share in `shapes`."""

import gc
import sys

# While `python -m actions.NAME` looks for its module. Nothing that is imported is garbage, and to look for it takes a
# tenth of a start; `actions.contract.process.main` turns it on again.
if sys.argv[:1] == ["-m"]:
    gc.disable()
