"""What people run: commands, the page, the servers, CVAT functions. They parse, call and show."""
