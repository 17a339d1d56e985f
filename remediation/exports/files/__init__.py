"""Files: written completely or not at all, and read line by line."""
