"""Tables of clips: labels, splits and groups, and the rules that keep a test set unseen."""
