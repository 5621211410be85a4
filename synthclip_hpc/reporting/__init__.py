"""The report of a run: what it is made of (`build`), and how it is written (`writing`)."""
