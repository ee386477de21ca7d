"""The page over several studies: a card for each, questions by studies, and what they say together."""
