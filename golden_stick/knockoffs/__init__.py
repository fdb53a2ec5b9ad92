"""The statistics of knockoffs, in numpy: drawing them, selecting by them, and telling whether they are any."""
