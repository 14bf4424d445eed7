"""Small untrained models of transformers' own SAM classes, one builder a family."""

from __future__ import annotations

import torch
import transformers
from transformers import Sam2ImageProcessor, SamImageProcessor

SIDE = 64
_SQUARE = {"height": SIDE, "width": SIDE}
_DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
_LEVELS = {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32}


def _padded(name: str, **decoder: int) -> torch.nn.Module:
    builder = getattr(transformers, name)
    vision = {
        "hidden_size": 16,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 3,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
    }
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 8}
    config = builder.config_class(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config={**_DECODER, **decoder}
    )
    return builder(config)


def _stretched(name: str, vision: dict) -> torch.nn.Module:
    builder = getattr(transformers, name)
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16}
    config = builder.config_class(
        vision_config={**vision, **_LEVELS}, prompt_encoder_config=prompt, mask_decoder_config=_DECODER
    )
    return builder(config)


_HIERA = {
    "model_type": "sam2_vision_model",
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    },
}
_REPVIT = {
    "model_type": "edgetam_vision_model",
    "backbone_config": {
        "model_type": "timm_wrapper",
        "architecture": "repvit_m1",
        "num_classes": 2,
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    },
}
BUILDERS = {
    "sam": lambda: _padded("SamModel"),
    "sam_hq": lambda: _padded("SamHQModel", vit_dim=16),
    "sam2": lambda: _stretched("Sam2Model", _HIERA),
    "edgetam": lambda: _stretched("EdgeTamModel", _REPVIT),
    "sam2_video": lambda: _stretched("Sam2VideoModel", _HIERA),
    "edgetam_video": lambda: _stretched("EdgeTamVideoModel", _REPVIT),
}


def model(kind: str, seed: int = 0) -> torch.nn.Module:
    """Weights large enough that masks have borders and prompts matter."""
    torch.manual_seed(seed)
    made = BUILDERS[kind]().eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1 and "timm" not in name:  # RepViT, untrained, would drown the prompts
                parameter.normal_(0, 1.5 / max(1, parameter[0].numel()) ** 0.5)
    return made


def processor(kind: str) -> object:
    """transformers' whole processor of a family, image and prompts together, for the small side."""
    if kind in ("sam", "sam_hq"):
        whole = getattr(transformers, "SamProcessor" if kind == "sam" else "SamHQProcessor")
        return whole(SamImageProcessor(size={"longest_edge": SIDE}, pad_size=_SQUARE))
    return transformers.Sam2Processor(Sam2ImageProcessor(size=_SQUARE))
