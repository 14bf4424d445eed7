# What every protocol has in common: OpenAI's ViT-B/16 on whole images, argmax over the classes, no threshold.
_base_ = "./pipelines.py"
model = dict(
    type="OpenVocabularySegmentor",
    data_preprocessor=dict(
        type="ClipPreProcessor",  # RGB in 0..1, normalised as the model wants it; no padding
        bgr_to_rgb=True,
    ),
    backbone="ViT-B-16-quickgelu",
    weights="openai",
    window=None,
    stride=None,
    background=None,
    background_threshold=None,
)
