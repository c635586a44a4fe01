"""An open-loop load generator for any Tact server: `python -m bench load --target HOST:PORT ..`."""
