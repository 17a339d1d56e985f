"""Words that a service writes about messages and that are not names. A text of only these words may stay readable.

Readers of the evidence need a failure's reason, but it can name a mailbox, a person or a subject. Its wording is not
documented. So a text with any word that is not listed here, a quotation mark or a long number is replaced.
"""

from __future__ import annotations

import re

_WORDS = """
a about accepted access account acted action active after again ago all allow allowed already also an and answer
answered any approval approximate are as asked at authentication automatically available back backend be because
been before behind being body bulk business but by came can can't cancelled change changed checked clean code come
comes compromise conflict connection content copies copy could count counted created credential criteria criterion
days deadline deleted deleteditems delivered delivery denied destination detected detection did different directory
discovered discovery display disposition dkim dmarc do does domain domains done due duplicate each email employee
ended error errors exact exceeded exist exists expired failed failure file first folder folders for forbidden form
found from gateway good had has have held host hours how html http id in inbox internal into invalid is it its job
jobs junk junkemail just kept known lasting later leaves licensed limit limited link links list lists locked longer
made mail mailbox mailboxes malicious many message messages minutes missing more most move moved moves moving must
name names network never new newly no none not nothing number of off on one only open operation or original other
out over parameter pattern payment pending permanently permission permissions phish phishing policy possible
postponed processed processing protected provider provisioned purged quarantine quarantined queue quota rate reach
reached reason recipient recipients recoverable recoverableitemsdeletions recoverableitemspurges refused registered
rejected release released removed request requests resource restore-messages retried retry rule search second
seconds seen sender senders sending sent server service session size skipped so soft spam spf spoof start started
status still stopped storage submission submissions succeeded success successful such suspicious system target
temporarily temporary than that the their them then there they this throttled time timed timeout times to too tried
try two unable unavailable unexpected unknown until upstream user users' verdict was were what when where which
while window with within without wrong yet
"""
WORDS = frozenset(_WORDS.split())

_WORD = re.compile(r"[A-Za-z][A-Za-z'_-]*")
# Counts and HTTP statuses. A longer number could be a telephone number.
_NUMBER = re.compile(r"(?<![\d.,+-])(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,6})(?![\d-]|[.,]\d)")
_BETWEEN = re.compile(r"[ .,:;()%/]*")


def is_harmless(text: str) -> bool:
    """Return whether the text has only words of a service, small numbers and plain punctuation."""
    if len(text) > 500 or not text.isascii():
        return False
    words = _WORD.findall(text)
    if not all(word.lower() in WORDS for word in words):
        return False
    return _BETWEEN.fullmatch(_NUMBER.sub("", _WORD.sub("", text))) is not None
