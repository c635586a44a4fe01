"""What the decision log says afterwards: verified, compared, judged. Reads files; asks no server."""
