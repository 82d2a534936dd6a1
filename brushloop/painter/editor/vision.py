"""The frozen image encoder that looks at visual inputs: depth maps, sketches, materials, references.

By default it is the base's own autoencoder, whose tokens are there anyway, each with a code of where it stands (an
autoencoder does not tell, as it is the same everywhere); or any image encoder of transformers (CLIP, SigLIP, DINO) in a
folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from brushloop.errors import WeightsError
from brushloop.painter.backbone import Backbone
from brushloop.painter.grids import Letterbox
from brushloop.weights import Weights, find

if TYPE_CHECKING:
    from PIL.Image import Image


PLACE = 64
"""Numbers in the code of where a token stands: sines and cosines over row and column."""


class Vision:
    """Features of pictures.

    Args:
        encoder: `autoencoder`, or a folder of transformers with an image processor.
        backbone: the base.
        side: pixels along a side of what the autoencoder sees.
    """

    def __init__(self, encoder: str, backbone: Backbone, side: int = 128) -> None:
        self.encoder, self.backbone, self.side = encoder, backbone, side

    def features(self, pictures: Sequence[Image]) -> Tensor:
        """Pictures of any size, letterboxed into a square, as features (B N F)."""
        if self.encoder == "autoencoder":
            seen = self.backbone.encode([Letterbox(each.size, self.side).put(each) for each in pictures])
            return torch.cat([seen, places(seen.shape[1]).to(seen).expand(len(seen), -1, -1)], dim=-1)
        model, processor = self._loaded
        side = int(model.config.image_size)
        squares = [Letterbox(each.size, side).put(each) for each in pictures]
        with torch.inference_mode():
            pixels = processor(squares, return_tensors="pt").pixel_values.to(model.device, model.dtype)
            found: Tensor = model(pixels).last_hidden_state.float().cpu()
        return found

    @property
    def size(self) -> int:
        """F, the length of a feature."""
        if self.encoder == "autoencoder":
            return int(self.backbone.transformer.config.in_channels) + PLACE
        return int(self._loaded[0].config.hidden_size)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoImageProcessor, AutoModel

        weights: Weights = find("image encoder", self.encoder, ("config.json", "preprocessor_config.json"))
        with weights.loading():
            config = AutoConfig.from_pretrained(weights.folder, local_files_only=True)
            model = weights.load(AutoModel)
            model = getattr(model, "vision_model", model)  # of a model of pictures and texts, the half that looks
            processor = AutoImageProcessor.from_pretrained(weights.folder, local_files_only=True, backend="pil")
            if not hasattr(model.config, "image_size"):
                raise WeightsError(f"{config.model_type} in {weights.folder} sees no pictures: name a CLIP or SigLIP")
        return model.requires_grad_(False), processor


def places(tokens: int) -> Tensor:
    """The code of where each token of a square stands (N PLACE)."""
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    code: Tensor = get_2d_sincos_pos_embed(PLACE, math.isqrt(tokens), output_type="pt")
    return code
