"""Where the animals are, in millimetres: silhouettes of all views, carved into volumes, followed over time."""
