"""What `cfes` reads: flags, documents, inputs of playbooks."""
