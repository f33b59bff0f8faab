"""Data sets as published, or drawn, turned into tracklet lists, splits and joints (data_prep/README.md)."""
