"""Words of the API's searches that readers without a client need too."""

# Criteria that name an address or a domain (core.addresses).
ADDRESS_CRITERIA = ("domain", "recipient", "sender")

# What is held or moved out for harm, not for being a nuisance.
MALICIOUS = ("MALICIOUS", "MALICIOUS-BEC")

# Verdicts that say that a message is not wanted. BULK is a newsletter, NONE and what is not known are clean.
HARMFUL = frozenset({*MALICIOUS, "SUSPICIOUS", "SPOOF", "SPAM"})
