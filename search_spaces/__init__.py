"""Studies, one YAML file each, and the modules that load, check and resolve them."""
