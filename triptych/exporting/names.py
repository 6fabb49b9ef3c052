"""The names of the tensors of every exported model."""

INPUT = "images"
OUTPUT = "logits"
