"""Bad days at random: the sandbox's faults over racing workers, each case judged by the sandbox's own truth.

Everything about a case follows from its seed and number: `python -m tests.chaos --seed 7 --case 42 -v` tells one again.
"""
