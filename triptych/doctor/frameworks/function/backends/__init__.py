"""One module for each kind of arrays: how a function of them runs, and its gradients."""
