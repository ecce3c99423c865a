"""Text as search sees it: scripts, folding, tokens."""
