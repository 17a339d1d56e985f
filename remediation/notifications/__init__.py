"""Tell people about a run: in a chat, in a case or ticket, or through a webhook."""
