"""Run `closedmail probe`: connect to each route host as the MTA would."""
