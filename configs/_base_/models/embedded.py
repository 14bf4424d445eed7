# The embedded model, which is part of the package: short side 160, argmax over the classes, no threshold,
# 85 templates. Scored at the label's size.
protocol = "embedded"
model = dict(
    type="OpenVocabularySegmentor",
    data_preprocessor=dict(
        type="ClipPreProcessor",  # RGB in 0..1, OpenAI CLIP's normalisation; no padding
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
        bgr_to_rgb=True,
    ),
    method="clip_surgery",
    backbone="tiny",
    weights=None,
    templates="paper",
    mode="whole",
    logit_scale=50.0,
    background=None,
)
