"""How fast the package is on a GPU, at the full size of Wan2.2-TI2V-5B: `python -m benchmarks.gpu`.

The weights are random (`tools.hollow_wan`); names, shapes and precisions are the published ones. Both sides
of every ratio are measured in the same run. `benchmarks.gpu.tables` makes `docs/performance.md`'s tables.
"""
