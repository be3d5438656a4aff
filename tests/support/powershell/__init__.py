"""An interpreter for the PowerShell of the Exchange exports, and a model of Exchange. See README.md."""
