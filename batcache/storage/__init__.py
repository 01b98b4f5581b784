"""Places on a disk or in a bucket, and files that are whole or not there."""
