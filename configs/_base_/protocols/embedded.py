# The embedded model, which is part of the package: short side 160, 85 templates. Scored at the label's size.
_base_ = "../segmentor.py"
protocol = "embedded"
model = dict(method="clip_surgery", backbone="tiny", weights=None, templates="paper", logit_scale=50.0)
