"""What `tact load` is made of: files to blocks of rows, rows to profiles, profiles to the server."""
