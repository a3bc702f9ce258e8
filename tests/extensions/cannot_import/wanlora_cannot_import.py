"""Needs a library that is not installed."""

from importlib import import_module

METRIC = import_module("library_that_nobody_has")
