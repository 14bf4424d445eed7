# The embedded models, which are part of the package: 85 templates. A leaf says which, and the short side.
# Scored at the label's size.
_base_ = "../segmentor.py"
protocol = "embedded"
model = dict(method="clip_surgery", backbone="small", weights=None, templates="paper", logit_scale=50.0)
