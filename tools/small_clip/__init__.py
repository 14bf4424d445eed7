"""Parts of tools/train_small_clip.py: how the embedded model "small" is trained."""
