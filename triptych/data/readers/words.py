"""Words in the names of files, folders, columns and arrays, in small letters."""

# What the parts of a data set are called.
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation", "dev", "eval", "evaluation")
PARTS = (*TRAIN, *TEST, *VALIDATION)

# What a folder of images is called.
PICTURES = ("images", "img")

# What the labels are called: a column of a CSV, an array of an .npz.
LABELS = ("label", "labels", "class", "classes", "target", "targets", "y")
