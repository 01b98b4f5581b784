"""batcache: weakly supervised bat call classifiers, trained from features that are computed once."""

__version__ = "0.1.0"
