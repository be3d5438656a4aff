"""What can be wrong with a gateway, theme by theme: functions from facts to findings, without I/O."""
