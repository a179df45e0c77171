"""Everything that owns an NDArray: the parameter store, executors, staging, handles."""
