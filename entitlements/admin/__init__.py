"""The pages for people in a browser; all but `history` are imported when the first visitor comes."""
