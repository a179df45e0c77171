"""What the ready loop is made of; users have it as `mxtrainer.train`."""
