"""Users' commands, run beside the data: `jobs.Jobs` for whoever asks, `worker` for whoever runs them."""
