"""Scores of videos and of sets of videos: one module a metric family.

`metric` and `frechet` import neither torch nor open_clip, so the decision may use them anywhere; `scorer`
puts the families together. Nothing is imported here, so that importing one module costs that module alone.
"""
