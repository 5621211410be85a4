"""Where `python -m evals.prepare` takes a data set from: class folders, archives, torchvision, the hub, captions."""
