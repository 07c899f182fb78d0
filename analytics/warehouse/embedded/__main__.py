"""`python -m analytics.warehouse.embedded --path DIR`"""

import sys

from analytics.warehouse.embedded.server import main

if __name__ == "__main__":
    sys.exit(main())
