# CLIP Surgery, Li et al. 2025 (Table 5): architecture surgery only, argmax over the classes, no threshold,
# 85 templates, ViT-B/16 of OpenAI. Scored at the label's size.
protocol = "paper"
model = dict(
    type="OpenVocabularySegmentor",
    data_preprocessor=dict(
        type="ClipPreProcessor",  # RGB in 0..1, OpenAI CLIP's normalisation; no padding
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
        bgr_to_rgb=True,
    ),
    method="clip_surgery",
    backbone="ViT-B-16-quickgelu",
    weights="openai",
    templates="paper",
    mode="whole",
    logit_scale=50.0,
    background=None,
)
