"""A pytest plugin with which importing torch fails, for runs that must end before they need it."""

from __future__ import annotations

import sys

sys.modules["torch"] = None  # type: ignore[assignment]  # how Python marks a module that must not be imported
