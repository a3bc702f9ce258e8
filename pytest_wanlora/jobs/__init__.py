"""The videos of a run: what is to be rendered (`planning`), by whom (`scheduling`), and where it is kept.

A `job` has a key; `cache` keeps results under it for all runs; `board` holds the notes that the processes of
one run share.
"""
