"""Verdict types and decision rules.

`judgement` defines the types; `limits` and `regressions` judge one item by `bands`; `evidence`, `fvd` and
`noise` compute intervals and tests of one item, `items` those of a run; `multiplicity` corrects for their
number; `sequential` decides which scenarios need more; `decision` combines all. All are pure functions.
"""
