"""A LangChain tool: an agent asks for a picture and gets words, with the creation itself as the artifact."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, Field, PrivateAttr

from brushloop.canvas import MAX_PROMPT
from brushloop.creation import Creation
from brushloop.errors import InputError

if TYPE_CHECKING:
    from brushloop.agent.studio import Studio


class PaintArguments(BaseModel):
    """What an agent says to have a picture painted."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, description="What is wanted, in words.")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="The same prompt and seed give the same picture.")] = 0
    fork: str | None = Field(default=None, description="The id of a creation, or the hash of a step, to go on from.")


class PaintTool(BaseTool):
    """Paints, or goes on from an earlier creation.

    The content is a line for the model: the creation's id, how it ended and what the critic says. The artifact is
    the `Creation`, with its picture and every step. What cannot be done is a `ToolException`, which an agent reads.

        agent = create_agent(model, [PaintTool()])
    """

    name: str = "paint"
    description: str = "Paint a picture round by round (plan, draft, reflect, refine), or go on from an earlier one."
    args_schema: type[BaseModel] = PaintArguments
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: bool = True
    _given: Studio | None = PrivateAttr(default=None)

    def __init__(self, studio: Studio | None = None, **settings: object) -> None:
        """Paint in this studio, by default one with the models that ship."""
        super().__init__(**settings)
        self._given = studio

    @cached_property
    def studio(self) -> Studio:
        """Where it paints."""
        from brushloop.agent.studio import Studio

        return self._given or Studio()

    def _run(self, prompt: str, seed: int = 0, fork: str | None = None) -> tuple[str, Creation]:
        try:
            creation = self.studio.fork(fork, prompt, seed) if fork else self.studio.paint(prompt, seed)
        except InputError as error:
            raise ToolException(str(error)) from error
        frame = creation.frame
        where = creation.store.image_path(frame) if frame else "no picture"
        return f"creation {creation.id} ({creation.steps[-1].text}): {where}", creation
