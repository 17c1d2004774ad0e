"""The project file adcli.toml: read, checked, and made into a plan of what to run."""
