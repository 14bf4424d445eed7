"""The paper's tables and figures for any backbones, methods and data sets, in one or more processes.

protocol     how a data set is measured, and the tools' command line
rows         the engine: one row per image, computed once, kept in a file, by one or more processes
systems      what is compared: a method with a surgery, an explanation, a folder of saved maps
run          loads backbones and data sets, and makes the inputs of every score
grids        the maps of all systems from one encoding
maps         Tables 1, 2, 4: mSC, IoU and the pointing game of similarity maps
ablation     Table 3: four tasks, points and masks among them
semantic     Table 5: label maps, also of folders of saved predictions
recognition  Table 6: multi-label scores
inside       Figs 4, 5, 6: attention, affinity and redundancy
faithful     deletion, insertion and random weights
report       results as Markdown, JSON and pictures
paper        the paper's values
publish      makes a run from the tools' arguments, and writes its reports
"""
