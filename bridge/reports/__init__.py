"""What the reports are made of, without any I/O.

`facts` reads a session's timeline as the visits, handlings, texts and marks that are counted; `presence` slices agents' time;
`spans` is the calendar of a time zone; `definitions` says what every figure means, and `measures` works it out.
"""
