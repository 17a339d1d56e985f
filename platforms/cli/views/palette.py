"""The colours of the terminal. Each can be read on white and on black: its contrast is at least 4.5 (WCAG 1.4.3).

A colour never says anything alone: a mark or a word says it too.
"""

GOOD = "#00875f"
BAD = "bold #eb0000"
WARNING = "bold #b06000"
QUIET = "#767676"
STRONG = "bold"
