"""One run of the gate, which ties the other packages together.

`session` is its state, `judge` judges its items by a `comparison`, `record` writes down what came of it;
`update_baseline` stores what was measured, and `fixtures` is what users' own tests see. Nothing here
imports torch, or pytest.
"""
