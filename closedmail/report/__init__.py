"""Write `closedmail report`: one static HTML page."""
