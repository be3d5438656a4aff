"""Putting a generation in force: files built aside, looked up again, and switched by rename."""
