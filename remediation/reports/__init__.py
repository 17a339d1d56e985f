"""Reports on a job: HTML, Markdown and a short summary."""
