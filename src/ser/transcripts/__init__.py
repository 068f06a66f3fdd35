"""What was said and when: read from files that others made, or heard by faster-whisper."""

from ser.transcripts.reading import read_transcript
from ser.transcripts.segments import Dropped, Segment, Transcript, Word

__all__ = ["Dropped", "Segment", "Transcript", "Word", "read_transcript"]
