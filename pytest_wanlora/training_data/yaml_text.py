"""YAML as the word lists and the configs of trainers have it: what is wrong with it, in one line."""

from __future__ import annotations

from typing import Any

import yaml


# the safe loader too, but in C: the lists are read at every start
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # mypy reads no getattr
    """Refuses a key that is written twice, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                problem = f"the key {key.value!r} is written twice; allowed: each key once"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.update({key.value} if isinstance(key.value, str) else ())
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def parse(text: str) -> object:
    """The document of a YAML text.

    Raises:
        ValueError: It is no YAML, has a key twice or is nested too deeply; one line, with the place.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        # such as a date of the 45th, which PyYAML leaves to Python
        raise ValueError(f"not YAML: {str(error).splitlines()[0]}") from error
