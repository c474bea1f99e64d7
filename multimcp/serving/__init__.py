"""What is around the proxy: who is let in, the admin API, the configuration file while it runs, and the process."""
