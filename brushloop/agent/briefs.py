"""Briefs from what callers give: pydantic's findings in one line of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from brushloop.canvas import MAX_PROMPT, Brief, Budget
from brushloop.errors import InputError, PromptError


def brief_from(
    prompt: str,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    budget: Budget | Mapping[str, float] | None = None,
    like: Brief | None = None,
) -> Brief:
    """A valid brief; what it does not name is as in `like`.

    Raises:
        PromptError: the prompt is empty, too long, or not text.
        InputError: a seed, size or limit is out of range.
    """
    if not isinstance(prompt, str):
        raise PromptError(f"the prompt is {type(prompt).__name__}, not text: say in words what to paint")
    if len(prompt) > MAX_PROMPT:
        raise PromptError(f"the prompt is {len(prompt)} characters long: shorten it to {MAX_PROMPT}")
    given: dict[str, Any] = dict(like) if like else {}
    given |= {"prompt": prompt, "seed": seed, "size": size}
    if budget is not None:
        given["budget"] = budget if isinstance(budget, Budget) else dict(budget)
    try:
        return Brief(**given)
    except ValidationError as error:
        fault = error.errors()[0]
    where = " ".join(str(part) for part in fault["loc"] if not isinstance(part, int))
    if where == "prompt":
        if not prompt.strip():
            raise PromptError("the prompt is empty: say in words what to paint")
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "string_unicode":
            said = "the prompt is not valid Unicode text"
        raise PromptError(f"{said}: say in words what to paint")
    said = fault["msg"].replace("Input should", "it should").replace("Extra inputs are not permitted", "no such limit")
    raise InputError(f"{where} {str(fault['input'])[:40]!r} cannot be used: {said}")
