"""What an export leaves behind: the rows in files that prove themselves, and a report on them.

A row is the API's own JSON object of one message of a job (`BulkJobMessage`), as received, unknown fields included.
Importing this package or a row writer imports the standard library only; `remediation.reports.report` alone needs
Jinja2.
"""
