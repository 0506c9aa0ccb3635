"""How fast fastnn trains, beside what else trains the same network; see README.md in this folder."""
