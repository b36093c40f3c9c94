"""What each public verb does, in this process."""
