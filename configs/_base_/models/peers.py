# The protocol of SCLIP, ClearCLIP and NACLIP: windows of 224 at stride 112 on a resized image, 80 templates,
# softmax of 40 x cosine, the best of a class's synonyms; 0.1 as threshold where there is a background.
# Sizes and figures as in the configs that wangf3014/SCLIP and sinahmr/NACLIP publish.
protocol = "peers"
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
    templates="imagenet",
    mode="slide",
    window=224,
    stride=112,
    logit_scale=40.0,
    background=None,
)
