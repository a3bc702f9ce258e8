"""A hollow Wan2.2-TI2V-5B: the real names, shapes and precisions, random weights.

DiffSynth recognises a model file by a hash of its tensor names and shapes, so files with random weights go
through the same loader, LoRA code, sampler, VAE and scorers as the published ones. Everything but the look
of the pictures can be tried and timed on them. They are written where they are used and never shipped:

    python -m tools.hollow_wan --out hollow           # 34 GB, on a machine with the GPU
    python -m tools.hollow_wan --out smoke --smoke    # a few MB, the embedded model's shapes
"""
