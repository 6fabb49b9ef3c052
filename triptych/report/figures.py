"""PNG figures of a run, for slides and READMEs; the report itself draws its own."""
def write(folder): pass
