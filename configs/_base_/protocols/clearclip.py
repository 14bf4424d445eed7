# ClearCLIP, as the configs of mc-lan/ClearCLIP say: short side 448 on every data set, windows of 448 at
# stride 224, softmax of 50 x cosine. One text a class.
_base_ = "./sclip.py"
protocol = "clearclip"
model = dict(method="clearclip", window=448, stride=224, logit_scale=50.0)
