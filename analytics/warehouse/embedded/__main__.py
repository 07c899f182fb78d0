"""`python -m analytics.warehouse.embedded --path DIR`"""

import sys

from .server import main

if __name__ == "__main__":
    sys.exit(main())
