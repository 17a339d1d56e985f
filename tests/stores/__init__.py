"""The same tests against SeaweedFS (s3), Azurite (az) and fake-gcs-server (gs), started once a session."""
