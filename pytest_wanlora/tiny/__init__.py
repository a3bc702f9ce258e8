"""The embedded model: a real Wan pipeline small enough to ship.

``README.md`` beside this file is its model card; ``tools/tiny_world`` is the world that it was trained on.
"""
