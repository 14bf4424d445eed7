"""Files in and out: pictures read, results written whole or not at all."""
