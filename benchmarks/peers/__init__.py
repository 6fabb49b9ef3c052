"""Contestants that are not engines: the same job as users of a framework write it, behind as much of the waist as a timing needs."""
