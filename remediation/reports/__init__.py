"""Reports: facts and findings of a job, as HTML and Markdown."""
