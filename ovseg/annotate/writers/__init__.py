"""One file a format: each turns records of images into the files that its tool reads."""
