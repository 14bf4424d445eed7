# SCLIP, as the configs of wangf3014/SCLIP say: windows of 224 at stride 112 on an image resized without
# antialiasing, 80 templates, softmax of 40 x cosine over all texts, the best text of a class. The leaves say
# where a data set differs. Each leaf uses SCLIP's own class names.
_base_ = "../segmentor.py"
protocol = "sclip"
model = dict(
    method="sclip", templates="imagenet", window=224, stride=112, logit_scale=40.0, synonyms="probability"
)
