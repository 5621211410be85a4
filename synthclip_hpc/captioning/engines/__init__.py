"""What writes captions, behind one small protocol."""
