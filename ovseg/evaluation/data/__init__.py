"""Labelled pictures: readers of benchmarks and folders, and conversions of benchmarks to the layouts they read.

items       a named set of labelled pictures: lazy reading, checks, digests
samples     pictures with masks: folders of index masks, VOC, photographs, ImageNet-S-50
tags        pictures with labels without masks: NUS-WIDE, lists
coco, context, cityscapes   benchmarks: readers and conversions
convert     helpers of all conversions, and photographs for FolderDataset
scenes      generated scenes
registry    data sets by name
"""
