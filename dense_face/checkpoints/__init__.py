"""Adapter files, and conversion of the released checkpoint without executing its pickle."""
