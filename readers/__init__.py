"""Bounded readers of files that others wrote: nothing in a file is run, and no claim is believed.

Sizes and counts are in ``limits``; they are checked before memory is taken.
"""
