"""Put a generation in force: files are built aside, checked by look-ups, and switched by rename."""
