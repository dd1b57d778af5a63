"""`python -m lnm`: the same as the command `lnm`."""

import sys

from lnm.cli import main

if __name__ == "__main__":
    sys.exit(main())
