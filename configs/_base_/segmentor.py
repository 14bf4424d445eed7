# What every protocol has in common: OpenAI's ViT-B/16 on whole images, argmax over the classes, no threshold.
_base_ = "./pipelines.py"
model = dict(
    type="OpenVocabularySegmentor",
    data_preprocessor=dict(
        type="ClipPreProcessor",  # RGB in 0..1, OpenAI CLIP's normalisation; no padding
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
        bgr_to_rgb=True,
    ),
    backbone="ViT-B-16-quickgelu",
    weights="openai",
    window=None,
    stride=None,
    background=None,
)
