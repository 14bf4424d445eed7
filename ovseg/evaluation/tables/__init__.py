"""The paper's tables and figures on data sets: any backbones, methods and sets, by one or more processes.

protocol     how a data set is measured, and the tools' command line
rows         the engine: a row for each image, kept in a file, computed once, by one or more processes
systems      what is compared: a method with a surgery, an explanation, a folder of saved maps
run          backbones and data sets, and what every score is given
grids        the maps of all systems, from one encoding
maps         Tables 1, 2, 4: mSC, IoU and the pointing game of similarity maps
ablation     Table 3: four tasks, points and masks among them
semantic     Table 5: label maps, also of folders of saved predictions
recognition  Table 6: multi-label scores
inside       Figs 4, 5, 6: attention, affinity and redundancy
faithful     deletion, insertion and random weights
report       results as Markdown, JSON and pictures
paper        the paper's figures
publish      from the tools' arguments to a run, from its reports to files
"""
