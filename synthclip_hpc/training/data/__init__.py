"""The input of training: from the tars of a data set to batches of pixels and tokens."""
