"""A plug-in of Triptych: a layer, an optimizer, a loss and a data format."""
