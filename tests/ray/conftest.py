"""The project of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import based, measured, project

__all__ = ["based", "measured", "project"]
