# One protocol for all methods, so that they can be compared with each other: SCLIP's windows, templates and
# sizes, 0.1 as threshold where there is a background, and ovseg's class names. It repeats no published table.
_base_ = "./sclip.py"
protocol = "common"
model = dict(method="clip_surgery")
