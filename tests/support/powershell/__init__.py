"""An interpreter for the PowerShell of the exports, and models of Exchange and of Windows DNS Server."""
