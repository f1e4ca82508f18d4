"""The words of the domain: classes, aetiologies, splits, and the name of the shared validation set.

Constants alone, because the training depends on this file: what else changes in this room reruns no training.
"""

CLASSES = ("NORMAL", "PNEUMONIA")  # the names of label 0 and label 1
AETIOLOGIES = ("none", "unknown", "virus", "bacteria")  # a patient with several counts as the last of these
SPLITS = ("train", "validation", "test")
SHARED = "shared"  # instead of a site's name: the validation set that all sites have
