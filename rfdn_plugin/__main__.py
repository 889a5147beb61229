"""`python -m rfdn_plugin` is the `rfdn` command."""

import sys

from rfdn_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main())
