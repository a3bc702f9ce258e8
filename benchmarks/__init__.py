"""Speed and evidence, measured; each program prints or writes its own table."""
