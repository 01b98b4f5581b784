"""What was judged as one page: numbers, curves, clips to look at and to hear."""
