"""The studies: what is to be found out, one YAML file each, and the schema that reads them."""
