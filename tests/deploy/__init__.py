"""Tests of deploy/: the image, the compose file and the unit of systemd."""
