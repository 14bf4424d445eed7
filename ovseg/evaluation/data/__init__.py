"""Labelled pictures: every reader of benchmarks and folders, and benchmarks' files brought into their layouts.

items       a named set of labelled pictures, read one by one, checked before anything is
samples     pictures with masks: folders of index masks, VOC, photographs
tags        pictures with labels that have no place: NUS-WIDE, lists
coco, context, cityscapes, imagenet_s   benchmarks: readers and conversions
convert     what conversions share, and photographs for FolderDataset
scenes      generated scenes
registry    data sets by name
"""
