"""The contract between the training loop and the engines."""
