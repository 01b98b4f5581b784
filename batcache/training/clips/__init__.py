"""From labelled clips to batches: which are learnt from, how they are read."""
