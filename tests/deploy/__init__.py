"""Tests of the image and of deploy/."""
