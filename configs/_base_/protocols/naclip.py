# NACLIP, as the configs of sinahmr/NACLIP say: SCLIP's protocol but for the leaves of VOC and COCO-Stuff, and
# the same class names. Its default run adds PAMR, 10 steps, which is not built here: the figures to compare
# with are those without post-processing.
_base_ = "./sclip.py"
protocol = "naclip"
model = dict(method="naclip")
