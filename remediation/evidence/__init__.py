"""Evidence bundles: write one for a job, and verify one offline."""
