"""From recordings on cards and labels of other programs to a manifest."""
