"""A question's way out and an answer's way in: pack, ask, check, cite."""
