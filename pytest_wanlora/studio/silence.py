"""Silence about what other libraries say."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what other libraries print and warn of to the log.

    A user's `-W error` must not turn a deprecation inside another library into a failed gate. What is
    redirected belongs to the process: one thread at a time.
    """
    printed = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if line.strip():
                logger.debug("printed: %s", line)
        for warning in caught:
            logger.debug("%s: %s", warning.category.__name__, warning.message)
