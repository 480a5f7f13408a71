"""Ask by changing the input: parts are hidden, and the score is looked at again."""
