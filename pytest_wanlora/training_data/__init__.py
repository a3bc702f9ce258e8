"""What a LoRA was trained on: shares of categories, duplicates, videos, a balanced set to train next.

`forms` and `metadata` read the captions in the forms that trainers keep them in; `rules`, `word_finder` and
`categories` say what a prompt is about; `fingerprints` and `duplicates` find repeated prompts; `videos` looks
at the files; `survey` walks all of that once; `report` and `balance` are made of a survey; `attribution` puts
the shares beside a gate's judgements. Nothing here imports torch or pytest but `clip_similarity`, which does
so when it is first asked.
"""
