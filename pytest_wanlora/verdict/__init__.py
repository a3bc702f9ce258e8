"""What is said of a checkpoint: verdicts with their evidence, and whether it may be published.

`judgement` holds the words; `limits` and `regressions` judge one item; `bands` names a change; `evidence`,
`fvd_evidence` and `noise` say how sure it is, `items` for all items of a run, `multiplicity` for all of
them together; `prediction` says what more videos would bring and `sequential` where they are needed;
`replay` plays whole gates from scores; `decision` puts everything together. All are pure functions.
"""
