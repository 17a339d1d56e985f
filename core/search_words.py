"""Names of search criteria and verdicts, for code that does not import the API client."""

# Criteria whose value is an address or a domain (core.addresses).
ADDRESS_CRITERIA = ("domain", "recipient", "sender")

# Verdicts on dangerous mail.
MALICIOUS = ("MALICIOUS", "MALICIOUS-BEC")

# Verdicts on unwanted mail. BULK is a newsletter; NONE and unknown verdicts count as clean.
HARMFUL = frozenset({*MALICIOUS, "SUSPICIOUS", "SPOOF", "SPAM"})
