"""The page's parts: each turns what is known into plain values for the template of the same name."""
