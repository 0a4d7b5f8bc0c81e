"""What a feature is: what it declares, what it is given, and the ports by which features know each other."""
