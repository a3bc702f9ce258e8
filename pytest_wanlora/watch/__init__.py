"""Gates each checkpoint of a training as it is written: what `python -m pytest_wanlora watch` is made of."""
