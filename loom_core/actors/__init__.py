"""Actors: state that answers messages, and how one actor's messages are served."""
