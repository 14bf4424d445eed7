"""The paper's tables and figures on data sets: any backbones, methods and sets, by one or more processes.

rows         the engine: a row for each image, kept in a file, computed once
setup        what every score of one backbone on one data set is given
processes    the processes that torchrun starts
systems      what is compared: a method, a surgery, a folder of saved maps
maps         mSC, IoU and the pointing game of similarity maps (Tables 1, 2, 4)
inside       attention, affinity and redundancy (Figs 4, 5, 6)
faithful     deletion, insertion and random weights
recognition  multi-label scores (Table 6)
semantic     label maps, also of folders of saved predictions (Table 5)
interactive  points and masks (the last column of Table 3)
paper        the paper's figures
tables       results as Markdown and JSON
"""
