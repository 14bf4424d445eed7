_base_ = "./clip-surgery_small_voc20-short352.py"
model = dict(vocabulary="{{ fileDirname }}/../_base_/datasets/photos_voc20_other_words.txt")
