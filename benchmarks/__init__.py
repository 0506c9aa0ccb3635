"""How fast fastnn is, compared with other ways to train the same networks; see README.md in this folder."""
