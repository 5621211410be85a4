"""Getting work started: what is missing, who does it, and the record of each submission."""
