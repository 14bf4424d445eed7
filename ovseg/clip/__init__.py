"""Images and texts to features: open_clip's models, read and never changed."""
