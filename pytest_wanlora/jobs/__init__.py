"""The videos of a run: `job` lists them, `scheduler` renders them, `cache` and `board` store the results.

The cache is shared by all runs, the board by the processes of one run.
"""
