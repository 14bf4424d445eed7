"""What tools/train_small_segmenter.py learns from: pictures with regions, the product's own maps, prompts."""
