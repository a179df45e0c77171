"""What turns executors into training: the trainer, its optimizers and its losses."""
