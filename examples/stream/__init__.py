"""An answer that arrives in pieces, and goes on after a reload of the page."""
