"""Parameter and result models, and the functions over them, that several actions share."""
