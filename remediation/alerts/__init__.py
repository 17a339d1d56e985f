"""Read an alert: which campaign it is about, who sent it, and which searches find it."""
