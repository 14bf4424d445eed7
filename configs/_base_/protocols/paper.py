# CLIP Surgery, Li et al. 2025, Table 5: architecture surgery only, 85 templates, images squeezed to 512x512
# with Pillow's bicubic as in the public demo. Scored at the label's size.
_base_ = "../segmentor.py"
protocol = "paper"
model = dict(method="clip_surgery", templates="paper", logit_scale=50.0)
