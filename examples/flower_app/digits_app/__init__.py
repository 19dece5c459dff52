"""A Flower app that can forget: see server_app for what that takes."""
