"""What is where: datasets, replicas, pools and their counters, and everything that must survive a restart."""
