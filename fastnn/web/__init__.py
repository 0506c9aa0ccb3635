"""The web app: draw, recognise, collect, review and share digits."""
