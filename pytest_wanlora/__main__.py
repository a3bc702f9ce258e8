"""`python -m pytest_wanlora`."""

from __future__ import annotations

import sys

from pytest_wanlora.cli import main

if __name__ == "__main__":
    sys.exit(main())
