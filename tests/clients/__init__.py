"""Which programs reach the services of a pod under `rtunnel run`, and how: a table, measured with the programs themselves."""
