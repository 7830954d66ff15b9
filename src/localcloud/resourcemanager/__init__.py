"""Resource Manager: every project exists here the moment it is named."""
