# Short side 160 at the own ratio, long side at most 2048.
resize = dict(type="ClipResize", short_side=160)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    resize,
    dict(type="PackSegInputs"),
]
tta_pipeline = [  # --tta: the image and its mirror image
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(
        type="TestTimeAug",
        transforms=[
            [resize],
            [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
