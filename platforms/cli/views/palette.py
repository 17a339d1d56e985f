"""The colors of the terminal. Each has a contrast of at least 4.5 on white and on black (WCAG 1.4.3).

No information depends on a color alone: a mark or a word shows it too.
"""

GOOD = "#00875f"
BAD = "bold #eb0000"
WARNING = "bold #b06000"
QUIET = "#767676"
STRONG = "bold"
