# One pipeline for every protocol. They differ in the resize alone; a leaf takes one of them by its name.
# Labels keep their size: a prediction is brought to the size of its label and scored there.
pipelines = {
    name: [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="ClipResize", **resize),
        dict(type="PackSegInputs"),
    ]
    for name, resize in dict(
        square512=dict(size=(512, 512), interpolation="pillow"),
        full1024x2048=dict(size=(1024, 2048), interpolation="pillow"),  # Cityscapes' own size
        # The short side at the image's aspect ratio; the long side is at most 2048.
        short336=dict(short_side=336, interpolation="bilinear"),
        short448=dict(short_side=448, interpolation="bilinear"),
        short560=dict(short_side=560, interpolation="bilinear"),
        short352=dict(short_side=352, interpolation="opencv"),
        short160=dict(short_side=160, interpolation="opencv"),
    ).items()
}
