"""The files of a new gate: a suite, pytest's settings, a CI file.

`scenarios` reads and checks prompts, `suite_file` writes them into a copy of a packaged suite, `ini_files`
finds and extends pytest's settings, `ci_files` fills in the CI templates, `metadata` reads what a LoRA was
trained on, and `changes` writes all files or none. Nothing here imports torch or pytest or prints.
"""
