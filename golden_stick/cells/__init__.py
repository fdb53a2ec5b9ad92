"""All that touches a Cell: traced, wrapped, slimmed, compared."""
