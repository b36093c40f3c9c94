"""Moments: the sufficient statistic of a pass, its targets, and the precision that it keeps. Arrays in, numbers out."""
