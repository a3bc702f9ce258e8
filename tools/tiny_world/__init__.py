"""The procedural world that the embedded model was trained on, and the programs that trained it."""
