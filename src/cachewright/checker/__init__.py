"""What do clients of a group see while something happens to it? Traffic, its history, a verdict.

Each lane has a writer, which appends numbers to lists, and a reader, which asks whether they are
there: clients as people have them, over the group's endpoint, which know nothing of what is done
meanwhile. `traffic` makes them and keeps what they saw, `judge` says what that means for each lane,
`summary` for all of them.
"""
