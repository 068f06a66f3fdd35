"""What is said in clips and films, as a table or as subtitles."""
