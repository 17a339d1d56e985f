"""Tests against SeaweedFS (s3), Azurite (az) and fake-gcs-server (gs), each started once per session."""
