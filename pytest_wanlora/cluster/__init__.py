"""Rendering on the nodes of a Ray cluster, while one process judges and writes the cache.

`dispatch` says which worker renders what, `scheduler` keeps the results, `nodes` compares the nodes,
`ray_crew` runs the workers on them, and `worker` is what renders there.
"""
